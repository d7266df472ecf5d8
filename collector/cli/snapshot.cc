#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "collector/cli/checks.h"
#include "collector/cli/heap_source.h"
#include "collector/cli/snapshot_table.h"
#include "collector/cli/verbs.h"
#include "collector/error.h"
#include "collector/sample/agent_client.h"

namespace collector {

namespace {

struct SnapshotOptions {
  std::string target;
  std::vector<std::string> watch;
  std::string ids;
  std::string heap;
  size_t top = 10;
  bool all = false;
  bool json = false;
};

std::string TakeReport(const SnapshotOptions& options) {
  if (!options.heap.empty())
    return WriteHeap(options.target, options.watch, options.heap);
  AgentClient agent = AgentClient::Connect(options.target);
  SnapshotRequest request;
  request.watch = options.watch;
  UniqueFd ids;
  if (!options.ids.empty()) {
    ids = UniqueFd(open(options.ids.c_str(),
                        O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!ids) {
      throw Error(
          fmt::format("--ids {}: {}", options.ids, std::strerror(errno)));
    }
    request.ids_fd = ids.get();
  }
  try {
    return agent.Snapshot(request);
  } catch (const Error& error) {
    // The inspector knows only a descriptor, the person a file.
    if (!ids) throw;
    throw Error(fmt::format("--ids {}: {}", options.ids, error.what()));
  }
}

void TakeSnapshot(const SnapshotOptions& options) {
  std::string report = TakeReport(options);
  if (options.json) {
    fmt::print("{}\n", report);
  } else {
    fmt::print("{}", RenderSnapshot(nlohmann::json::parse(report),
                                    options.all ? 0 : options.top));
  }
}

}  // namespace

void AddSnapshot(CLI::App& app, int*) {
  auto options = std::make_shared<SnapshotOptions>();
  CLI::App* verb = app.add_subcommand(
      "snapshot", "Shows what is on the heap of a running process, now");
  verb->add_option("TARGET", options->target,
                   "A pid, or the path of an inspector's socket")
      ->required();
  verb->add_option("--watch", options->watch,
                   "A type to watch: module.Type or Type (repeatable)")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  verb->add_option("--top", options->top, "Rows of each list")
      ->capture_default_str()
      ->check(Positive());
  verb->add_flag("--all", options->all, "All rows");
  verb->add_option("--ids", options->ids,
                   "Also write address, type and state of every tracked "
                   "object to this file");
  verb->add_option("--heap", options->heap,
                   "Also write the whole graph to this file, for `top`, "
                   "`path` and `whatif`")
      ->excludes("--ids");
  verb->add_flag("--json", options->json, "The whole report as JSON");
  verb->footer("Example: cyclescope snapshot 4711 --watch Broker --top 5");
  verb->callback([options] { TakeSnapshot(*options); });
}

}  // namespace collector
