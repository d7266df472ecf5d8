#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "collector/cli/load_options.h"
#include "collector/cli/options.h"
#include "collector/cli/status_line.h"
#include "collector/cli/verbs.h"
#include "collector/error.h"
#include "collector/load/kafka.h"
#include "collector/sample/interrupt.h"

namespace collector {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

struct LoadOptions {
  LoadPlan plan;
  std::string group;
  bool json = false;
};

/// How many archives of this load the group has taken, at most so old.
class Processed {
 public:
  Processed(const LoadPlan& plan, const std::string& group)
      : offset_(plan.broker, group, plan.topic),
        base_(offset_.ReadEnd(milliseconds(10'000))) {}
  int64_t Count() {
    return offset_.Read(milliseconds(10'000)).value_or(0) - base_;
  }

 private:
  GroupOffset offset_;
  int64_t base_;
};

void RunLoad(const LoadOptions& options) {
  Interrupt interrupt;
  std::function<bool(int64_t)> may_send;
  LoadThread thread(options.plan);
  if (!options.group.empty()) {
    auto counter = std::make_shared<Processed>(options.plan, options.group);
    may_send = [counter, backlog = options.plan.backlog](int64_t index) {
      return index - counter->Count() < backlog;
    };
  }
  auto start = steady_clock::now();
  thread.Start(may_send);
  StatusLine status;
  const LoadCounts& counts = thread.load().counts();
  while (!thread.done() &&
         !interrupt.SleepUntil(steady_clock::now() + milliseconds(200))) {
    double seconds =
        std::chrono::duration<double>(steady_clock::now() - start).count();
    status.SayInTerminal(fmt::format("{} sent, {} late, {} failed, {:.1f} s",
                                     counts.sent.load(), counts.late.load(),
                                     counts.failed.load(), seconds));
  }
  thread.Stop();
  status.End();
  thread.Check();
  double seconds =
      std::chrono::duration<double>(steady_clock::now() - start).count();
  double rate = static_cast<double>(counts.sent) / seconds;
  if (options.json) {
    nlohmann::json result = {
        {"sent", counts.sent.load()},
        {"late", counts.late.load()},
        {"failed", counts.failed.load()},
        {"seconds", seconds},
        {"per_second", rate},
        {"seed", options.plan.seed},
        {"request_prefix", thread.load().request_prefix()}};
    fmt::print("{}\n", result.dump());
  } else {
    fmt::print(
        "{} archives sent in {:.1f} s ({:.1f} per second), {} late, {} "
        "failed\n",
        counts.sent.load(), seconds, rate, counts.late.load(),
        counts.failed.load());
  }
  if (interrupt.requested()) throw Interrupted();
  if (counts.failed > 0) {
    throw Error(
        fmt::format("{} of {} uploads failed; look into the logs of "
                    "the S3 server and the broker",
                    counts.failed.load(), counts.failed + counts.sent));
  }
}

}  // namespace

void AddLoad(CLI::App& app, int*) {
  auto options = std::make_shared<LoadOptions>();
  CLI::App* verb = app.add_subcommand(
      "load", "Uploads archives and announces them, as archive-sync does");
  LoadPlan& plan = options->plan;
  verb->add_option("--broker", plan.broker, "Kafka broker, HOST:PORT")
      ->required();
  verb->add_option("--topic", plan.topic, "Where archives are announced")
      ->capture_default_str();
  AddLoadOptions(*verb, plan);
  verb->get_option("--s3")->required();
  verb->add_option("--archives", plan.archives,
                   "How many; without it until Ctrl-C")
      ->check(Positive());
  verb->add_option("--group", options->group,
                   "The service's consumer group: bounds the backlog");
  verb->add_flag("--json", options->json, "The result as JSON");
  verb->footer(
      "Example: cyclescope load --broker 127.0.0.1:9092 --s3 "
      "http://127.0.0.1:9000 --archives 500 --rate 10");
  verb->callback([options] { RunLoad(*options); });
}

}  // namespace collector
