#include <fmt/format.h>

#include "collector/cli/heap_source.h"
#include "collector/cli/snapshot_table.h"
#include "collector/cli/text.h"
#include "collector/cli/verbs.h"
#include "collector/heap/largest.h"

namespace collector {

namespace {

std::string RenderTop(const nlohmann::json& top) {
  return fmt::format("{} objects; alive {}, floating {}\n",
                     FormatCount(top["objects"]),
                     FormatBytes(top["live_bytes"]),
                     FormatBytes(top["floating_bytes"])) +
         RenderFrozenGarbage(top) + "\n" + RenderLargest(top["largest"], 0) +
         "\n" + RenderTypes(top["types"], 0) + "\n" +
         RenderCycles(top["cycles"], 0) + RenderLimits(top["limits"]);
}

}  // namespace

void AddTop(CLI::App& app, int*) {
  auto options = std::make_shared<HeapOptions>();
  CLI::App* verb = app.add_subcommand(
      "top", "Shows what retains most: objects, types and cycles");
  AddHeapOptions(*verb, *options);
  verb->footer(
      "Retained is what would be freed if the object, all objects of the type "
      "or all\nobjects on cycles of the signature went.\n"
      "Example: cyclescope snapshot 4711 --heap service.heap\n"
      "         cyclescope top service.heap --top 5");
  verb->callback([options] {
    RecordedHeap heap = HeapOf(options->source, options->watch);
    nlohmann::json top = Largest(heap, options->top);
    fmt::print("{}", options->json ? top.dump() + "\n" : RenderTop(top));
  });
}

}  // namespace collector
