#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>

#include "collector/cli/heap_source.h"
#include "collector/cli/options.h"
#include "collector/cli/snapshot_table.h"
#include "collector/cli/verbs.h"
#include "collector/error.h"
#include "collector/heap/largest.h"
#include "collector/sample/agent_client.h"
#include "collector/sample/find_clients.h"
#include "collector/sample/unique_fd.h"
#include "injector/target.h"

namespace collector {

namespace {

struct SnapshotOptions {
  std::string target;
  std::vector<std::string> watch;
  std::string ids;
  std::string heap;
  std::vector<std::string> top = {"10"};
  bool all = false;  // Processes.
  bool json = false;
};

/// What `--top` asks for: a number of rows, and lists to be shown alone.
struct Shown {
  size_t rows = 10;
  std::vector<std::string> lists;

  explicit Shown(const SnapshotOptions& options) {
    for (const std::string& text : options.top) {
      if (text == "retained" || text == "types" || text == "cycles" ||
          text == "holders") {
        lists.push_back(text);
        continue;
      }
      if (text == "all") {
        rows = 0;
        continue;
      }
      auto [end, error] =
          std::from_chars(text.data(), text.data() + text.size(), rows);
      if (error != std::errc() || end != text.data() + text.size() || rows == 0)
        throw UsageError(fmt::format(
            "--top {}: write a number above 0, or all, retained, types, cycles "
            "or holders; see `cyclescope snapshot --help`",
            text));
    }
  }
  bool NeedsHeap() const {
    return std::any_of(lists.begin(), lists.end(),
                       [](const std::string& l) { return l != "holders"; });
  }
};

std::string TakeReport(const SnapshotOptions& options) {
  AgentClient agent = AgentClient::Connect(options.target);
  SnapshotRequest request;
  request.watch = options.watch;
  UniqueFd ids;
  if (!options.ids.empty()) {
    ids = UniqueFd(open(options.ids.c_str(),
                        O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!ids) {
      throw CannotBeWritten("--ids", options.ids);
    }
    request.ids_fd = ids.get();
  }
  try {
    return WaitForSnapshot(agent, request);
  } catch (const Error& error) {
    // The inspector knows only a descriptor, the person a file.
    if (!ids) throw;
    throw Error(fmt::format("--ids {}: {}", options.ids, error.what()));
  }
}

/// The report, with what the host finds in the heap if that is asked for.
std::string TakeAll(const SnapshotOptions& options, const Shown& shown) {
  std::optional<RecordedHeap> heap;
  if (!options.heap.empty()) {
    std::string report = WriteHeap(options.target, options.watch, options.heap);
    // Of a pipe there is nothing to be read again.
    if (!std::filesystem::is_regular_file(options.heap)) return report;
    heap = RecordedHeap::Open(options.heap);
  } else if (shown.NeedsHeap()) {
    heap = HeapOf(options.target, options.watch);
  } else {
    return TakeReport(options);
  }
  nlohmann::json report = heap->report();
  AddRetained(report, *heap, shown.rows == 0 ? 100 : shown.rows);
  return report.dump();
}

std::string RenderLists(const nlohmann::json& report, const Shown& shown) {
  std::string text = RenderHead(report);
  for (const std::string& list : shown.lists) {
    const nlohmann::json& heap = report.at("heap");
    text += "\n";
    text += list == "types"     ? RenderTypes(heap.at("types"), shown.rows)
            : list == "cycles"  ? RenderCycles(report.at("cycles"), shown.rows)
            : list == "holders" ? RenderHolders(heap.at("holders"), shown.rows)
                                : RenderLargest(heap.at("largest"), shown.rows);
  }
  return text + RenderLimits(report.at("limits"));
}

void Print(const std::string& text, const SnapshotOptions& options,
           const Shown& shown) {
  if (options.json) {
    fmt::print("{}\n", text);
    return;
  }
  nlohmann::json report = nlohmann::json::parse(text);
  if (options.watch.empty()) {
    // Nobody asked for the types that are watched by default.
    auto is_absent = [](const nlohmann::json& entry) {
      return entry.at("alive") == 0;
    };
    nlohmann::json& watched = report.at("watched");
    watched.erase(std::remove_if(watched.begin(), watched.end(), is_absent),
                  watched.end());
  }
  if (shown.lists.empty())
    fmt::print("{}", RenderSnapshot(report, shown.rows));
  else
    fmt::print("{}", RenderLists(report, shown));
}

/// One after the other: at no time two copies of processes that may share a
/// memory limit. What fails of one does not keep the others from being seen;
/// the first such error is thrown at the end.
void TakeOfAll(const SnapshotOptions& options, const Shown& shown) {
  if (!options.heap.empty() || !options.ids.empty() || shown.NeedsHeap()) {
    throw UsageError(
        "--all takes reports only; for a heap file, --ids or --top retained "
        "name one process");
  }
  std::string problem;
  bool first = true;
  for (const AgentClient& agent : FindClients(options.target, true)) {
    if (!options.json) fmt::print("{}{}\n", first ? "" : "\n", agent.name());
    first = false;
    SnapshotRequest request;
    request.watch = options.watch;
    try {
      agent.Ping();  // Tells soon whether it answers.
      Print(WaitForSnapshot(agent, request), options, shown);
    } catch (const std::exception& error) {
      if (!options.json) fmt::print("  {}\n", error.what());
      if (problem.empty())
        problem = fmt::format("{}: {}", agent.name(), error.what());
    }
  }
  if (!problem.empty()) throw Error(problem);
}

void TakeSnapshot(const SnapshotOptions& options) {
  Shown shown(options);
  if (options.all)
    TakeOfAll(options, shown);
  else
    Print(TakeAll(options, shown), options, shown);
}

}  // namespace

void AddSnapshot(CLI::App& app, int*) {
  auto options = std::make_shared<SnapshotOptions>();
  CLI::App* verb = app.add_subcommand(
      "snapshot", "Shows what is on the heap of a running process, now");
  verb->add_option("TARGET", options->target, injector::kTargetHelp)
      ->required();
  Repeatable(
      verb->add_option("--watch", options->watch,
                       "A type to watch: module.Type or Type (repeatable)"));
  Repeatable(
      verb->add_option("--top", options->top,
                       "Rows of each list, a number or `all`; or `retained`, "
                       "`types`, `cycles` or `holders`, to see that list alone "
                       "(repeatable)"))
      ->capture_default_str();
  verb->add_flag("--all", options->all,
                 "Of every process that TARGET names, one after the other "
                 "(with --json a line for each)");
  verb->add_option("--ids", options->ids,
                   "Also write address, type and state of every tracked "
                   "object to this file");
  verb->add_option("--heap", options->heap,
                   "Also write the whole graph to this file, for `top`, "
                   "`path` and `whatif`; the report then has retained sizes")
      ->excludes("--ids");
  verb->add_flag("--json", options->json, "The whole report as JSON");
  verb->footer(
      "Example: cyclescope snapshot 4711 --watch Broker --top 5\n"
      "         cyclescope snapshot 4711 --top retained\n"
      "         cyclescope snapshot 4711 --heap service.heap\n"
      "         cyclescope snapshot rules-processing\n"
      "         cyclescope snapshot exec:'oc exec -i my-pod -c app --'");
  verb->callback([options] { TakeSnapshot(*options); });
}

}  // namespace collector
