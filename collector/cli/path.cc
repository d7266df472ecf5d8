#include <fmt/format.h>

#include <algorithm>

#include "collector/cli/heap_source.h"
#include "collector/cli/snapshot_table.h"
#include "collector/cli/text.h"
#include "collector/cli/verbs.h"
#include "collector/heap/largest.h"
#include "collector/verdict/words.h"

namespace collector {

namespace {

using nlohmann::json;

struct PathOptions : HeapOptions {
  std::string wanted;
};

/// One object's path, a line for each step.
std::string RenderSteps(const json& example) {
  std::string text = fmt::format(
      "{} {} · {} · {}, retains {}\n", example["address"].get<std::string>(),
      example["type"].get<std::string>(),
      Spoken(example["state"].get<std::string>()),
      FormatBytes(example["bytes"]), FormatBytes(example["retained"]));
  Table table({"held by", "", "address", "bytes"}, {0, 1, 2});
  std::string start = example["start"].get<std::string>();
  if (!start.empty()) table.Add({start});
  for (const json& step : example["steps"])
    table.Add({step["edge"].get<std::string>(),
               step["label"].get<std::string>(),
               step["address"].get<std::string>(), FormatBytes(step["bytes"])});
  return text + table.Render();
}

std::string RenderPaths(const json& paths, size_t top) {
  const json& list = paths["paths"];
  if (paths["objects"] == 1) return RenderSteps(list[0]["example"]);
  Table table({"held by", "count", "bytes", "state"}, {0, 3});
  size_t shown = std::min(list.size(), top);
  for (size_t i = 0; i < shown; ++i) {
    const json& example = list[i]["example"];
    table.Add({fmt::format("{}.", i + 1), FormatCount(list[i]["count"]),
               FormatBytes(list[i]["bytes"]),
               Spoken(list[i]["state"].get<std::string>())});
    table.AddNote("    " + list[i]["path"].get<std::string>());
    table.AddNote(fmt::format("    for example {}, which retains {}",
                              example["address"].get<std::string>(),
                              FormatBytes(example["retained"])));
  }
  std::string text =
      fmt::format("{} objects of {}\n{}", FormatCount(paths["objects"]),
                  paths["wanted"].get<std::string>(), table.Render());
  auto total = paths["paths_total"].get<size_t>();
  if (total > shown)
    text += fmt::format("  ... and {} more ways (--top)\n", total - shown);
  return text + RenderLimits(paths["limits"]);
}

}  // namespace

void AddPath(CLI::App& app, int*) {
  auto options = std::make_shared<PathOptions>();
  CLI::App* verb = app.add_subcommand(
      "path", "Shows what holds the objects of a type, or one object");
  AddHeapOptions(*verb, *options);
  verb->add_option("TYPE|ADDRESS", options->wanted,
                   "module.Type or Type, also of what inherits from it; or an "
                   "address, as id() or `top` gives it")
      ->required();
  verb->footer(
      "Paths begin at an imported module if one leads there, else at a thread, "
      "the\ninterpreter, C code or a running function; floating objects are "
      "held by garbage.\n"
      "Example: cyclescope path service.heap Session\n"
      "         cyclescope path 4711 0x7f2e5c0b1a90");
  verb->callback([options] {
    json paths =
        Paths(HeapOf(options->source, options->watch), options->wanted);
    fmt::print("{}", options->json ? paths.dump() + "\n"
                                   : RenderPaths(paths, options->top));
  });
}

}  // namespace collector
