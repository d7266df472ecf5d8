#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "collector/cli/load_options.h"
#include "collector/cli/options.h"
#include "collector/cli/status_line.h"
#include "collector/cli/text.h"
#include "collector/cli/verbs.h"
#include "collector/error.h"
#include "collector/load/kafka.h"
#include "collector/sample/recorder.h"
#include "injector/target.h"

namespace collector {

namespace {

using std::chrono::milliseconds;

struct RecordOptions {
  std::string target;
  std::string output;
  std::string service = "service";
  std::string interval = "5s";
  std::string longest;
  std::string group;
  std::vector<std::string> watch;
  int64_t units = 0;
  LoadPlan load;  // Broker and topic also without a load.
  bool json = false;
};

/// Counts from the group's committed offset at construction.
class UnitsProcessed {
 public:
  UnitsProcessed(const RecordOptions& options)
      : offset_(options.load.broker, options.group, options.load.topic),
        base_(offset_.Read(kTimeout).value_or(0)) {}
  int64_t Count() { return offset_.Read(kTimeout).value_or(base_) - base_; }

 private:
  static constexpr milliseconds kTimeout{5000};
  GroupOffset offset_;
  int64_t base_;
};

void Check(const RecordOptions& options) {
  bool broker = !options.load.broker.empty();
  if (broker == options.group.empty()) {
    throw UsageError(
        "--broker and --group belong together: the units "
        "processed are the committed offset of that group");
  }
  if (options.units > 0 && !broker) {
    throw UsageError(
        "--units needs --broker and --group, which tell how many "
        "are processed");
  }
  if (!options.load.s3.url.empty() && !broker) {
    throw UsageError("--s3 drives the load, which needs --broker and --group");
  }
}

nlohmann::json Describe(const RecordOptions& options, const RecordPlan& plan) {
  nlohmann::json rate =
      options.load.rate > 0 ? nlohmann::json(options.load.rate) : nullptr;
  bool counted = !options.group.empty();
  return {{"schema", "cyclescope.run/1"},
          {"created", UtcNow()},
          {"unit",
           {{"name", counted ? "archive" : "unit"},
            {"source", counted ? fmt::format("committed offset of group {} on "
                                             "topic {}",
                                             options.group, options.load.topic)
                               : "none"}}},
          {"plan",
           {{"units", options.units},
            {"rate_per_second", rate},
            {"seed", options.load.seed},
            {"interval_ms", plan.interval.count()},
            {"snapshots", plan.parts + 1}}},
          {"arm", nullptr},
          {"command", "cyclescope record " + options.target},
          {"host", DescribeHost()}};
}

int RunRecord(const RecordOptions& options) {
  Check(options);
  RecordPlan plan;
  plan.service = options.service;
  plan.watch = options.watch;
  plan.interval = ParseDuration("--interval", options.interval);
  plan.units = options.units;
  if (!options.longest.empty()) {
    plan.longest = ParseDuration("--for", options.longest);
  }
  Interrupt interrupt;
  AgentClient agent = AgentClient::Connect(options.target);
  std::optional<UnitsProcessed> units;
  if (!options.group.empty()) units.emplace(options);
  std::atomic<int64_t> processed = 0;  // What the load's thread reads.
  std::optional<LoadThread> load;
  if (!options.load.s3.url.empty()) {
    LoadPlan load_plan = options.load;
    load_plan.archives = options.units;
    load.emplace(load_plan);
  }
  RunWriter run = RunWriter::Create(options.output, Describe(options, plan));

  RecordHooks hooks;
  if (units) {
    hooks.units_processed = [&] { return processed = units->Count(); };
  }
  if (load) {
    hooks.units_sent = [&] { return load->load().counts().sent.load(); };
    hooks.started = [&] {
      load->Start([&](int64_t index) {
        return index - processed < options.load.backlog;
      });
    };
    hooks.watch_over = [&] { load->Check(); };
    hooks.load_problem = [&] { return load->load().Problem(); };
  }
  StatusLine status;
  hooks.progress = [&](int64_t done, int64_t elapsed_ms) {
    status.SayInTerminal(
        fmt::format("{} units, {:.0f} s", done, elapsed_ms / 1000.0));
  };
  RecordResult result = Record(plan, hooks, agent, run, interrupt);
  if (load) load->Stop();
  status.End();
  if (options.json) {
    nlohmann::json json = {{"run", options.output},
                           {"units", result.units},
                           {"seconds", result.elapsed_ms / 1000.0},
                           {"snapshots", result.snapshots},
                           {"interrupted", result.interrupted}};
    fmt::print("{}\n", json.dump());
  } else {
    fmt::print(
        "{} units, {} snapshots in {:.0f} s; read it with `cyclescope "
        "verdict {}`\n",
        result.units, result.snapshots, result.elapsed_ms / 1000.0,
        options.output);
  }
  return result.interrupted ? kExitInterrupted : kExitClean;
}

}  // namespace

void AddRecord(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<RecordOptions>();
  CLI::App* verb = app.add_subcommand(
      "record", "Samples a service and takes snapshots into a run folder");
  verb->add_option("TARGET", options->target, injector::kTargetHelp)
      ->required();
  verb->add_option("--output", options->output, "The run folder to make")
      ->required();
  verb->add_option("--service", options->service, "What to call it")
      ->capture_default_str();
  verb->add_option("--interval", options->interval, "Time between samples")
      ->capture_default_str();
  verb->add_option("--units", options->units,
                   "Ends when so many are processed; a snapshot at each tenth")
      ->check(Positive());
  verb->add_option("--for", options->longest, "Ends after this time, e.g. 10m");
  Repeatable(
      verb->add_option("--watch", options->watch,
                       "A type to watch: module.Type or Type (repeatable)"));
  verb->add_option("--broker", options->load.broker,
                   "Kafka broker of the service, HOST:PORT");
  verb->add_option("--group", options->group, "The service's consumer group");
  verb->add_option("--topic", options->load.topic, "What the service consumes")
      ->capture_default_str();
  AddLoadOptions(*verb, options->load);
  verb->get_option("--s3")->description(
      "Drives the load itself: uploads --units archives to this S3 server");
  verb->add_flag("--json", options->json, "The result as JSON");
  verb->footer(
      "Example: cyclescope record 4711 --output run1 --for 10m --broker "
      "127.0.0.1:9092 --group my-group");
  verb->callback([options, exit_code] { *exit_code = RunRecord(*options); });
}

}  // namespace collector
