#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "collector/cli/demo_arms.h"
#include "collector/cli/demo_platform.h"
#include "collector/cli/demo_table.h"
#include "collector/cli/load_options.h"
#include "collector/cli/options.h"
#include "collector/cli/status_line.h"
#include "collector/cli/text.h"
#include "collector/cli/verbs.h"
#include "collector/error.h"
#include "collector/load/kafka.h"
#include "collector/load/result_counter.h"
#include "collector/report/report.h"
#include "collector/sample/recorder.h"
#include "collector/store/files.h"
#include "collector/store/load_run_facts.h"
#include "collector/verdict/verdict.h"
#include "injector/environment.h"

namespace collector {

namespace fs = std::filesystem;

namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr char kService[] = "rules-processing";

struct DemoOptions {
  int64_t archives = 200;
  std::string output = "cyclescope-demo";
  std::vector<fs::path> patches;
  std::string collector;
  uint64_t seed = 1;
  std::string interval = "1s";
  std::vector<std::string> watch = {
      "insights.core.dr.Broker",
      "ccx_messaging.monitored_broker.SentryMonitoredBroker"};
  DemoFixtures fixtures;
  bool json = false;
};

/// How far the demo is; outside a terminal a line for each tenth of an arm.
class Progress {
 public:
  Progress(size_t arms, int64_t archives) : arms_(arms), archives_(archives) {}

  void Begin(const std::string& arm) {
    ++arm_;
    name_ = arm;
    begin_ = steady_clock::now();
    tenth_ = -1;
    Say("starting broker, S3 server and service");
  }
  void Update(int64_t done) {
    int64_t tenth = done * 10 / archives_;
    if (!line_.terminal() && tenth == tenth_) return;
    tenth_ = tenth;
    Say(fmt::format("{} of {} archives{}", done, archives_, Left(done)));
  }
  void End() {
    using Seconds = std::chrono::duration<double>;
    double took = Seconds(steady_clock::now() - begin_).count();
    seconds_ += took;
    Say(fmt::format("{} archives in {:.0f} s", archives_, took));
    line_.End();
  }

 private:
  /// What the arms so far took says best what the others will take; in the
  /// first arm the archives so far.
  std::string Left(int64_t done) const {
    double here =
        std::chrono::duration<double>(steady_clock::now() - begin_).count();
    if (done == 0 && arm_ == 1) return "";
    double share = static_cast<double>(done) / static_cast<double>(archives_);
    double arm = arm_ > 1 ? seconds_ / static_cast<double>(arm_ - 1)
                          : here / std::max(share, 0.01);
    double left = std::max(arm - here, arm * (1 - share) / 2) +
                  arm * static_cast<double>(arms_ - arm_);
    return fmt::format(", about {} left",
                       left < 90 ? fmt::format("{:.0f} s", left)
                                 : fmt::format("{:.0f} min", left / 60));
  }
  void Say(const std::string& what) {
    line_.Say(fmt::format("arm {}/{} {}: {}", arm_, arms_, name_, what));
  }

  size_t arms_;
  int64_t archives_;
  StatusLine line_;
  size_t arm_ = 0;
  std::string name_;
  int64_t tenth_ = -1;
  double seconds_ = 0;  // Of the finished arms.
  steady_clock::time_point begin_;
};

json DescribeArm(const DemoOptions& options, const DemoArm& arm,
                 const RecordPlan& plan) {
  return {{"schema", "cyclescope.run/1"},
          {"created", UtcNow()},
          {"unit",
           {{"name", "archive"},
            {"source", fmt::format("committed offset of group {} on topic {}",
                                   kGroup, kSyncedTopic)}}},
          {"plan",
           {{"units", options.archives},
            {"rate_per_second", nullptr},
            {"seed", options.seed},
            {"interval_ms", plan.interval.count()},
            {"snapshots", plan.parts + 1}}},
          {"arm", arm.name},
          {"command", fmt::format("cyclescope demo --archives {} --seed {}",
                                  options.archives, options.seed)},
          {"host", DescribeHost()}};
}

/// A patch that does not apply is told before minutes of other arms.
void CheckPatches(const DemoFixtures& fixtures,
                  const std::vector<DemoArm>& arms) {
  DemoScratch scratch;
  for (const DemoArm& arm : arms) {
    if (!arm.patch.empty()) {
      MakeOverlay(fixtures, arm, scratch.path() / arm.name);
    }
  }
}

/// How many archives may be sent once the snapshot after `passed` of `parts` is
/// taken: all before the part after next ends.
int64_t SendLimit(int64_t archives, int parts, int passed) {
  int64_t next = passed + 2;
  return next >= parts ? archives : (next * archives + parts - 1) / parts - 1;
}

/// Runs one arm from start to clean end. Returns how many archives were sent
/// and how many results came.
json RunArm(const DemoOptions& options, const DemoArm& arm,
            const Interrupt& interrupt, Progress& progress) {
  fs::path folder = fs::path(options.output) / arm.name;
  DemoPlatform platform(arm, options.fixtures,
                        fs::path(options.output) / "logs", interrupt);
  ResultCounter results(platform.broker(), kResultsTopic);
  GroupOffset offset(platform.broker(), kGroup, kSyncedTopic);
  LoadPlan load_plan;
  load_plan.broker = platform.broker();
  load_plan.topic = kSyncedTopic;
  load_plan.s3 = {platform.s3_url(), kS3Key, kS3Key};
  load_plan.bucket = kBucket;
  load_plan.archives = options.archives;
  load_plan.seed = options.seed;
  // What the load's thread reads, hence before it.
  std::atomic<int64_t> processed = 0;
  std::atomic<int64_t> limit = 0;
  LoadThread load(load_plan);
  platform.StartService();
  AgentClient agent =
      AgentClient::Connect(std::to_string(platform.service_pid()));

  RecordPlan plan;
  plan.service = kService;
  plan.watch = options.watch;
  plan.interval = ParseDuration("--interval", options.interval);
  plan.units = options.archives;
  plan.poll = milliseconds(100);
  plan.stall = std::chrono::seconds(60);
  RecordHooks hooks;
  hooks.units_processed = [&]() -> int64_t {
    try {
      return processed = offset.Read(milliseconds(5000)).value_or(0);
    } catch (const Error&) {
      platform.Check();  // Says more, if one of ours has ended.
      throw;
    }
  };
  hooks.units_sent = [&] { return load.load().counts().sent.load(); };
  // The service works on during a snapshot, but not past the tenth after: each
  // tenth gets its own, however short the plan is.
  limit = SendLimit(options.archives, plan.parts, 0);
  hooks.snapshot_taken = [&](int parts) {
    limit = SendLimit(options.archives, plan.parts, parts);
  };
  hooks.started = [&] {
    load.Start([&](int64_t index) {
      return index < limit && index - processed < load_plan.backlog;
    });
  };
  hooks.watch_over = [&] {
    platform.Check();
    load.Check();
  };
  // The offset of an archive may be committed while it is being processed; its
  // result comes after.
  hooks.settled = [&] { return results.results() >= options.archives; };
  hooks.load_problem = [&] { return load.load().Problem(); };
  hooks.progress = [&](int64_t done, int64_t) { progress.Update(done); };

  {
    RunWriter run = RunWriter::Create(folder, DescribeArm(options, arm, plan));
    RecordResult result = Record(plan, hooks, agent, run, interrupt);
    load.Stop();
    if (result.interrupted) throw Interrupted();
  }
  platform.StopService();
  const std::string& prefix = load.load().request_prefix();
  return {{"sent", load.load().counts().sent.load()},
          {"failed", load.load().counts().failed.load()},
          {"results", results.results()},
          {"distinct", results.distinct(prefix)},
          {"repeated", results.repeated()}};
}

/// The folder must be new, empty or an earlier demo's, whose runs are replaced.
void PrepareOutput(const fs::path& output) {
  fs::path marker = output / "demo.json";
  if (fs::exists(output) && !fs::is_directory(output)) {
    throw Error(fmt::format("--output {}: is not a folder; give another",
                            output.string()));
  }
  if (fs::exists(output) && !fs::is_empty(output) && !fs::exists(marker)) {
    throw Error(fmt::format(
        "--output {}: holds other files; give a new folder for the demo",
        output.string()));
  }
  MakeOutputFolder(output);
  for (const auto& entry : fs::directory_iterator(output)) {
    if (fs::exists(entry.path() / "run.json")) fs::remove_all(entry.path());
  }
  fs::remove(output / "report.html");
  // Written first: says whose folder this is even if the demo is cut short.
  WriteFileWhole(marker, json{{"schema", "cyclescope.demo/1"},
                              {"arms", json::array()},
                              {"comparisons", json::array()}}
                                 .dump() +
                             "\n");
}

json LastSnapshot(const RunFacts& run) {
  if (run.services.empty() || run.services[0].snapshots.empty()) return nullptr;
  return run.services[0].snapshots.back().report;
}

/// Judges what was recorded; writes demo.json and report.html.
json Conclude(const DemoOptions& options, const std::vector<DemoArm>& arms,
              const std::vector<json>& archives) {
  json demo = {{"schema", "cyclescope.demo/1"},
               {"archives", options.archives},
               {"seed", options.seed},
               {"arms", json::array()},
               {"comparisons", json::array()}};
  std::vector<ReportArm> report;
  for (size_t i = 0; i < arms.size(); ++i) {
    RunFacts run = LoadRunFacts(fs::path(options.output) / arms[i].name);
    json verdict = JudgeRun(run);
    demo["arms"].push_back({{"arm", arms[i].name},
                            {"run", arms[i].name},
                            {"archives", archives[i]},
                            {"verdict", verdict},
                            {"snapshot", LastSnapshot(run)}});
    report.push_back({arms[i].name, std::move(run), std::move(verdict)});
  }
  for (size_t i = 0; i < arms.size(); ++i) {
    for (size_t base = 0; base < arms.size(); ++base) {
      if (arms[base].name != arms[i].base) continue;
      json comparison = CompareRuns(report[base].run, report[i].run);
      comparison["base_arm"] = arms[base].name;
      comparison["patched_arm"] = arms[i].name;
      demo["comparisons"].push_back(std::move(comparison));
    }
  }
  WriteFileWhole(fs::path(options.output) / "demo.json", demo.dump() + "\n");
  WriteFileWhole(fs::path(options.output) / "report.html",
                 HtmlReport(report, demo["comparisons"]));
  return demo;
}

void RunDemo(DemoOptions options) {
  Interrupt interrupt;
  options.fixtures.hook = injector::FindHookDirectory();
  std::vector<DemoArm> arms =
      DemoArms(options.collector, options.patches, options.fixtures);
  CheckFixtures(options.fixtures, arms);
  CheckPatches(options.fixtures, arms);
  PrepareOutput(options.output);
  fmt::print(stderr,
             "{} arms of {} archives each (seed {}), a sample every {} and a "
             "snapshot every {} archives, into {}\n",
             arms.size(), options.archives, options.seed, options.interval,
             (options.archives + 9) / 10, options.output);
  std::vector<json> archives;
  {
    Progress progress(arms.size(), options.archives);
    for (const DemoArm& arm : arms) {
      progress.Begin(arm.name);
      archives.push_back(RunArm(options, arm, interrupt, progress));
      progress.End();
    }
  }
  json demo = Conclude(options, arms, archives);
  if (options.json) {
    fmt::print("{}\n", demo.dump());
  } else {
    fmt::print("{}\nreport: {}\n", RenderDemo(demo),
               fs::absolute(fs::path(options.output) / "report.html").string());
  }
}

}  // namespace

void AddDemo(CLI::App& app, int*) {
  auto options = std::make_shared<DemoOptions>();
  options->fixtures.ccx = CYCLESCOPE_FIXTURES;
  options->fixtures.venvs = CYCLESCOPE_VENVS;
  std::error_code no_proc;  // Other verbs have a sentence for that.
  options->fixtures.broker =
      fs::read_symlink("/proc/self/exe", no_proc).parent_path() / "mock_broker";
  CLI::App* verb = app.add_subcommand(
      "demo",
      "The whole job on this machine: runs rules-processing without "
      "and with the patches and says what changed");
  verb->add_option("--archives", options->archives, "Archives for each arm")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{10}, int64_t{1'000'000}));
  verb->add_option("--output", options->output,
                   "Folder for runs, demo.json and report.html")
      ->capture_default_str();
  Repeatable(verb->add_option(
      "--patch", options->patches,
      "One more arm: the packages of `before` with this unified "
      "diff (repeatable)"));
  verb->add_option("--collector", options->collector,
                   "Cyclic collector on, off or both; without it `before` as "
                   "it is and all arms with it off")
      ->check(CLI::IsMember({"on", "off", "both"}));
  verb->add_option("--seed", options->seed, "Names the sequence of archives")
      ->capture_default_str();
  verb->add_option("--interval", options->interval, "Time between samples")
      ->capture_default_str();
  Repeatable(verb->add_option("--watch", options->watch, "Types to watch"))
      ->capture_default_str();
  verb->add_option("--fixtures", options->fixtures.ccx,
                   "Folder with the service's configuration and patches")
      ->capture_default_str();
  verb->add_option("--venvs", options->fixtures.venvs,
                   "Folder with the virtual environments")
      ->capture_default_str();
  verb->add_flag("--json", options->json, "demo.json to stdout");
  verb->footer(
      "Example: cyclescope demo --archives 200 --output demo --patch my.patch");
  verb->callback([options] { RunDemo(*options); });
}

}  // namespace collector
