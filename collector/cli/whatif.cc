#include <fmt/format.h>

#include <algorithm>
#include <fstream>

#include "collector/cli/heap_source.h"
#include "collector/cli/options.h"
#include "collector/cli/snapshot_table.h"
#include "collector/cli/text.h"
#include "collector/cli/verbs.h"
#include "collector/error.h"
#include "collector/heap/what_if.h"

namespace collector {

namespace {

using nlohmann::json;

constexpr size_t kRanked = 5;

struct WhatIfOptions : HeapOptions {
  std::vector<std::string> cuts;
  std::string ids;
};

std::string RenderCuts(const json& outcome, size_t top) {
  std::string text;
  for (const json& cut : outcome["cuts"])
    text += fmt::format("without {} ({} references)\n",
                        cut["cut"].get<std::string>(),
                        FormatCount(cut["references"]));
  const json& freed = outcome["freed"];
  text += fmt::format(
      "  cycles {}, broken {}, surviving {}\n"
      "  freed at once {} objects, {} (floating before {}, pinned {}, in "
      "flight {})\n",
      FormatCount(outcome["cycles"]), FormatCount(outcome["broken"]),
      FormatCount(outcome["surviving"]), FormatCount(freed["objects"]),
      FormatBytes(freed["bytes"]), FormatCount(freed["floating"]),
      FormatCount(freed["pinned"]), FormatCount(freed["in_flight"]));
  if (!outcome["watched"].empty()) {
    Table table({"watched type", "alive", "on cycles", "then", "freed"});
    for (const json& row : outcome["watched"])
      table.Add({row["type"].get<std::string>(), FormatCount(row["alive"]),
                 FormatCount(row["on_cycles"]),
                 FormatCount(row["on_cycles_after"]),
                 FormatCount(row["freed"])});
    text += "\n" + table.Render();
  }
  Table table({"cycle", "count", "broken", "surviving", "freed", "bytes"});
  const json& rows = outcome["signatures"];
  size_t shown = top == 0 ? rows.size() : std::min(top, rows.size());
  for (size_t i = 0; i < shown; ++i) {
    const json& row = rows[i];
    table.Add({row["id"].get<std::string>(), FormatCount(row["count"]),
               FormatCount(row["broken"]), FormatCount(row["surviving"]),
               FormatCount(row["freed_objects"]),
               FormatBytes(row["freed_bytes"])});
    table.AddNote("    " + row["signature"].get<std::string>());
  }
  text += "\n" + table.Render();
  if (shown < rows.size())
    text += fmt::format("  ... and {} more (--top all)\n", rows.size() - shown);
  const json& uncovered = outcome["uncovered"];
  if (!uncovered.empty()) text += "longer cycles that then remain\n";
  shown = top == 0 ? uncovered.size() : std::min(top, uncovered.size());
  for (size_t i = 0; i < shown; ++i)
    text += fmt::format("  {} on {}\n", FormatCount(uncovered[i]["count"]),
                        uncovered[i]["signature"].get<std::string>());
  if (shown < uncovered.size())
    text += fmt::format("  ... and {} more (--top all)\n",
                        uncovered.size() - shown);
  return text + RenderLimits(outcome["limits"]);
}

std::string RenderRanking(const json& outcome) {
  Table table({"--cut", "references", "cycles broken", "surviving",
               "objects freed", "bytes freed"});
  for (const json& row : outcome["ranking"])
    table.Add({row["cut"].get<std::string>(), FormatCount(row["references"]),
               FormatCount(row["broken"]), FormatCount(row["surviving"]),
               FormatCount(row["freed_objects"]),
               FormatBytes(row["freed_bytes"])});
  return fmt::format("{} cycles; what breaks most of them\n{}",
                     FormatCount(outcome["cycles"]), table.Render()) +
         RenderLimits(outcome["limits"]);
}

/// As `snapshot --ids` does.
void WriteIds(const RecordedHeap& heap, const std::vector<heap::NodeId>& nodes,
              const std::string& path) {
  std::ofstream file(path);
  for (heap::NodeId node : nodes)
    file << heap.AddressOf(node) << " "
         << heap.file().text(heap.file().type(node).name) << " "
         << heap.StateOf(node) << "\n";
  file.close();
  if (!file) throw CannotBeWritten("--ids", path);
}

void Run(const WhatIfOptions& options) {
  std::vector<Cut> cuts;
  for (const std::string& text : options.cuts) cuts.push_back(Cut::Parse(text));
  RecordedHeap heap = HeapOf(options.source, options.watch);
  WhatIf what_if(heap);
  std::vector<heap::NodeId> freed;
  json outcome =
      cuts.empty() ? what_if.Rank(kRanked) : what_if.Without(cuts, &freed);
  if (!options.ids.empty()) WriteIds(heap, freed, options.ids);
  if (options.json)
    fmt::print("{}\n", outcome.dump());
  else if (cuts.empty())
    fmt::print("{}", RenderRanking(outcome));
  else
    fmt::print("{}", RenderCuts(outcome, options.top));
}

}  // namespace

void AddWhatIf(CLI::App& app, int*) {
  auto options = std::make_shared<WhatIfOptions>();
  CLI::App* verb = app.add_subcommand(
      "whatif", "Says which cycles a fix would break, before it is written");
  AddHeapOptions(*verb, *options);
  Repeatable(verb->add_option(
      "--cut", options->cuts,
      "References to leave out: TYPE.EDGE[@FUNCTION] (repeatable). Without "
      "it the five that break most are shown"));
  verb->add_option("--ids", options->ids,
                   "With --cut, also write address, type and state of every "
                   "object that would be freed to this file")
      ->needs("--cut");
  verb->footer(
      "TYPE also means what inherits from it. EDGE is an attribute, a place "
      "([3], [*]),\n[str key], or `local x` of a frame, generator or "
      "coroutine. @FUNCTION keeps what\nbegins or ends at a frame, traceback, "
      "generator or coroutine of that function, and\nof other references those "
      "on a closed way through one of them. Freed is what\nreference counts "
      "alone free at once.\n"
      "Example: cyclescope whatif service.heap\n"
      "         cyclescope whatif 4711 --cut "
      "BaseException.__traceback__@run_components");
  verb->callback([options] { Run(*options); });
}

}  // namespace collector
