#include "collector/cli/growth_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "collector/cli/snapshot_table.h"
#include "collector/cli/text.h"
#include "collector/verdict/json_access.h"
#include "collector/verdict/words.h"

namespace collector {
namespace {

using nlohmann::json;

std::string Signed(const json& growth, std::string text) {
  return growth.is_number() && growth > 0 ? "+" + text : text;
}

std::string CountGrowth(const json& growth) {
  return Signed(growth, FormatCount(growth));
}

std::string BytesGrowth(const json& growth) {
  return Signed(growth, FormatBytes(growth));
}

/// The figures of an entry after its name.
void AddRow(Table& table, const std::string& name, const json& entry) {
  std::vector<std::string> row = {name, BytesGrowth(entry["bytes"]),
                                  CountGrowth(entry["count"])};
  for (const char* state : {"pinned", "floating", "in_flight", "never"})
    row.push_back(CountGrowth(entry[state]));
  table.Add(std::move(row));
}

void AddHolder(Table& table, const json& count, const json& path) {
  if (!path.is_string()) return;
  std::string text = path.get<std::string>();
  table.AddNote(fmt::format("    {}{}{}",
                            count.is_number() ? CountGrowth(count) + " " : "",
                            text.starts_with("held ") ? "" : "held by ", text));
}

size_t Shown(const json& list, size_t top) {
  return top == 0 ? list.size() : std::min(list.size(), top);
}

std::string Omitted(const json& list, size_t top) {
  size_t left = list.size() - Shown(list, top);
  return left == 0 ? "" : fmt::format("  ... and {} more (--top all)\n", left);
}

std::string Types(const json& types, const std::string& title, size_t top) {
  if (types.empty()) return "";
  Table table({title, "bytes", "count", "pinned", "floating", "in flight",
               "never taken"});
  for (size_t i = 0; i < Shown(types, top); ++i) {
    const json& type = types[i];
    AddRow(table, TextAt(type, "type"), type);
    const json& holders = type["holders"];
    constexpr size_t kHolders = 3;
    for (size_t j = 0; j < std::min(holders.size(), kHolders); ++j)
      AddHolder(table, holders[j]["count"], holders[j]["held_by"]);
    if (holders.empty())
      AddHolder(table, type["held_by_count"], type["held_by"]);
    if (type["held_by"].is_null() && type["cycle"].is_string())
      table.AddNote("    on " + TextAt(type, "cycle"));
  }
  return "\n" + table.Render() + Omitted(types, top);
}

std::string Cycles(const json& cycles, size_t top) {
  if (cycles.empty()) return "\nno cycle grew\n";
  Table table({"cycle that grew", "bytes", "count", "pinned", "floating",
               "in flight", "never taken"});
  for (size_t i = 0; i < Shown(cycles, top); ++i) {
    AddRow(table, TextAt(cycles[i], "id"), cycles[i]);
    table.AddNote("    " + TextAt(cycles[i], "signature"));
    for (const std::string& line : SiteLines(cycles[i], 3))
      table.AddNote("      " + line);
    if (std::string holder = TextAt(cycles[i], "held_by/0"); !holder.empty())
      table.AddNote("      held by " + holder);
  }
  return "\n" + table.Render() + Omitted(cycles, top);
}

std::string Memory(const json& memory) {
  Table table({"memory", "before", "after", "growth"});
  for (const auto& [part, figure] : memory.items()) {
    table.Add({part, FormatBytes(figure["before"]),
               FormatBytes(figure["after"]), BytesGrowth(figure["growth"])});
    if (figure["growth"].is_null())
      table.AddNote("    not known: " + TextAt(figure, "reason"));
  }
  return "\n" + table.Render();
}

std::string OnOrOff(const json& enabled) {
  return enabled.is_null() ? "unknown" : enabled == true ? "on" : "off";
}

std::string Collector(const json& gc) {
  std::string was = OnOrOff(At(gc, "enabled/before"));
  std::string is = OnOrOff(At(gc, "enabled/after"));
  std::string text = fmt::format("\ncollector {} · frozen {} ({})",
                                 was == is ? is : was + ", then " + is,
                                 FormatCount(At(gc, "frozen/after")),
                                 CountGrowth(At(gc, "frozen/growth")));
  const json& generations = gc["generations"];
  for (size_t i = 0; i < generations.size(); ++i)
    text += fmt::format(" · generation {}: {} collections, {} collected", i,
                        CountGrowth(generations[i]["collections"]),
                        CountGrowth(generations[i]["collected"]));
  return text + "\n";
}

}  // namespace

std::string RenderGrowth(const json& growth, size_t top) {
  std::string text = fmt::format(
      "process {} · Python {} · from {} to {}\n"
      "heap {} objects, {}; floating {} with {}\n",
      At(growth, "process/pid").dump(), TextAt(growth, "process/python"),
      TextAt(growth, "before"), TextAt(growth, "after"),
      CountGrowth(At(growth, "heap/objects/growth")),
      BytesGrowth(At(growth, "heap/bytes/growth")),
      CountGrowth(At(growth, "heap/floating_objects/growth")),
      BytesGrowth(At(growth, "heap/floating_bytes/growth")));
  text += growth["grew"].empty() ? "\nno type grew\n"
                                 : Types(growth["grew"], "what grew", top);
  text += Types(growth["shrank"], "what shrank", top);
  text += Cycles(growth["cycles"], top);
  text += Memory(growth["memory"]);
  text += Collector(growth["gc"]);
  return text;
}

}  // namespace collector
