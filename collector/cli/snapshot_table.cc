#include "collector/cli/snapshot_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "collector/cli/text.h"
#include "collector/verdict/memory_bridge.h"
#include "collector/verdict/words.h"

namespace collector {

namespace {

using nlohmann::json;

/// The value under `key`, or null: a field that could not be had is null or, in
/// a damaged report, absent.
const json& At(const json& object, const char* key) {
  static const json kNull;
  auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() ? *found : kNull;
}

std::string Text(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  return value.is_null() ? "-" : value.dump();
}

size_t Shown(const json& list, size_t top) {
  return top == 0 ? list.size() : std::min(list.size(), top);
}

std::string Omitted(const json& list, size_t top) {
  size_t left = list.size() - Shown(list, top);
  return left == 0 ? "" : fmt::format("  ... and {} more (--top all)\n", left);
}

bool KnowsRetained(const json& list) {
  return std::any_of(list.begin(), list.end(), [](const json& entry) {
    return At(entry, "retained").is_number();
  });
}

std::vector<std::string> States(const json& entry) {
  return {FormatCount(At(entry, "pinned")), FormatCount(At(entry, "floating")),
          FormatCount(At(entry, "in_flight")), FormatCount(At(entry, "never"))};
}

/// "held by module a.REGISTRY → …", "held from C: 2 references".
std::string HeldBy(const json& holder) {
  std::string text = Text(holder);
  return text.starts_with("held ") ? text : "held by " + text;
}

std::string Watched(const json& watched) {
  if (!watched.is_array() || watched.empty()) return "";
  Table table({"watched type", "alive", "pinned", "floating", "in flight",
               "never taken"});
  for (const json& entry : watched) {
    std::vector<std::string> row = {Text(At(entry, "type")),
                                    FormatCount(At(entry, "alive"))};
    for (std::string& cell : States(entry)) row.push_back(std::move(cell));
    table.Add(std::move(row));
    const json& path = At(At(entry, "example"), "path");
    if (path.is_array() && !path.empty())
      table.AddNote("    one is " + HeldBy(path[0]));
  }
  return "\n" + table.Render();
}

std::string Collector(const json& gc) {
  std::string text =
      fmt::format("collector {} · thresholds {} · counts {} · frozen {}\n",
                  At(gc, "enabled").is_null() ? "unknown"
                  : At(gc, "enabled") == true ? "on"
                                              : "off",
                  Text(At(gc, "thresholds")), Text(At(gc, "counts")),
                  FormatCount(At(gc, "frozen")));
  const json& stats = At(gc, "stats");
  for (size_t i = 0; stats.is_array() && i < stats.size(); ++i) {
    text += fmt::format(
        "  generation {}: {} collections, {} collected, {} uncollectable\n", i,
        FormatCount(At(stats[i], "collections")),
        FormatCount(At(stats[i], "collected")),
        FormatCount(At(stats[i], "uncollectable")));
  }
  const json& full = At(gc, "full_collection");
  if (full.is_object() && At(full, "needs_survivors").is_null()) {
    text += "  next full collection: never by itself, the collector is off\n";
  } else if (full.is_object()) {
    text += fmt::format(
        "  next full collection: after {} more survivors and {} more "
        "collections of generation 1; it would free {}\n",
        FormatCount(At(full, "needs_survivors")),
        FormatCount(At(full, "needs_gen1_collections")),
        FormatBytes(At(full, "frees_bytes")));
  }
  if (At(full, "last_ms").is_number()) {
    text += fmt::format(
        "  past full collections: the last took {} ms (± {}), the longest of "
        "{} "
        "timed ones {} ms\n",
        FormatCount(At(full, "last_ms")),
        FormatCount(At(full, "last_within_ms")),
        FormatCount(At(full, "measured")), FormatCount(At(full, "longest_ms")));
  }
  return text;
}

std::string Memory(const json& memory) {
  std::vector<BridgePart> parts = BridgeParts(memory);
  if (parts.empty()) return "";
  Table table({"memory", "bytes", "share", ""}, {0, 3});
  for (const BridgePart& part : parts) {
    table.Add({part.name, part.bytes ? Bytes(*part.bytes) : "-",
               part.share ? fmt::format("{:.1f} %", 100 * *part.share) : "-",
               part.meaning});
  }
  return "\n" + table.Render() + "  " + BridgeSum(memory) + "\n";
}

}  // namespace

std::string RenderFrozenGarbage(const json& heap) {
  const json& objects = At(heap, "frozen_garbage");
  const json& bytes = At(heap, "frozen_garbage_bytes");
  if (!objects.is_number() || objects == 0) return "";
  return fmt::format(
      "{} frozen objects{} are garbage that no collection takes\n",
      FormatCount(objects),
      bytes.is_number() ? " with " + FormatBytes(bytes) : "");
}

std::string RenderHead(const json& report) {
  const json& process = At(report, "process");
  const json& taken = At(report, "taken");
  const json& heap = At(report, "heap");
  std::string head = fmt::format(
      "process {} · Python {} · {}\n"
      "taken {} · pause {} (waited {} for the interpreter) · child {} ms, "
      "at most {} of its own, {} copied\n"
      "heap {} objects, {}; {} tracked, of which floating {} with {}\n",
      Text(At(process, "pid")), Text(At(process, "python")),
      Text(At(process, "executable")), Text(At(taken, "at")),
      FormatMicroseconds(At(taken, "pause_us")),
      FormatMicroseconds(At(taken, "gil_wait_us")),
      FormatCount(At(taken, "child_ms")),
      FormatBytes(At(taken, "child_peak_bytes")),
      FormatBytes(At(taken, "cow_bytes")), FormatCount(At(heap, "objects")),
      FormatBytes(At(heap, "bytes")), FormatCount(At(heap, "tracked")),
      FormatCount(At(heap, "floating_objects")),
      FormatBytes(At(heap, "floating_bytes")));
  return head + RenderFrozenGarbage(heap);
}

std::string RenderLargest(const json& largest, size_t top) {
  Table table({"object", "bytes", "retained", "objects", "state"}, {0, 4});
  for (size_t i = 0; i < Shown(largest, top); ++i) {
    const json& entry = largest[i];
    table.Add({fmt::format("{} {}", Text(At(entry, "address")),
                           Text(At(entry, "label"))),
               FormatBytes(At(entry, "bytes")),
               FormatBytes(At(entry, "retained")),
               FormatCount(At(entry, "retained_objects")),
               Spoken(Text(At(entry, "state")))});
    table.AddNote("    " + Text(At(entry, "held_by")));
    std::string goes;
    for (const json& type : At(entry, "goes_with"))
      goes +=
          fmt::format("{}{} {} {}", goes.empty() ? "" : ", ",
                      FormatCount(At(type, "count")), Text(At(type, "type")),
                      FormatBytes(At(type, "bytes")));
    if (!goes.empty()) table.AddNote("      with it go " + goes);
  }
  return table.Render();
}

std::string RenderTypes(const json& types, size_t top) {
  if (!types.is_array() || types.empty()) return "";
  std::vector<std::string> header = {"type",   "count",    "bytes",
                                     "pinned", "floating", "in flight"};
  bool retained = KnowsRetained(types);
  if (retained) header.push_back("retained");
  Table table(std::move(header));
  for (size_t i = 0; i < Shown(types, top); ++i) {
    const json& type = types[i];
    std::vector<std::string> row = {Text(At(type, "type")),
                                    FormatCount(At(type, "count")),
                                    FormatBytes(At(type, "bytes")),
                                    FormatCount(At(type, "pinned")),
                                    FormatCount(At(type, "floating")),
                                    FormatCount(At(type, "in_flight"))};
    if (retained) row.push_back(FormatBytes(At(type, "retained")));
    table.Add(std::move(row));
    if (At(type, "held_by").is_string())
      table.AddNote(fmt::format("    {}: {}",
                                FormatCount(At(type, "held_by_count")),
                                HeldBy(At(type, "held_by"))));
  }
  return table.Render() + Omitted(types, top);
}

std::string RenderCycles(const json& cycles, size_t top) {
  if (!cycles.is_array() || cycles.empty()) return "no cycles\n";
  std::vector<std::string> header = {"cycle",    "count",     "pinned",
                                     "floating", "in flight", "never taken",
                                     "bytes"};
  bool retained = KnowsRetained(cycles);
  if (retained) header.push_back("retained");
  Table table(std::move(header));
  for (size_t i = 0; i < Shown(cycles, top); ++i) {
    const json& cycle = cycles[i];
    std::vector<std::string> row = {Text(At(cycle, "id")),
                                    FormatCount(At(cycle, "count"))};
    for (std::string& cell : States(cycle)) row.push_back(std::move(cell));
    row.push_back(FormatBytes(At(cycle, "bytes")));
    if (retained) row.push_back(FormatBytes(At(cycle, "retained")));
    table.Add(std::move(row));
    table.AddNote("    " + Text(At(cycle, "signature")));
    for (const std::string& line : SiteLines(cycle, 3)) {
      table.AddNote("      " + line);
    }
    const json& holders = At(cycle, "held_by");
    for (size_t i = 0; holders.is_array() && i < holders.size(); ++i)
      table.AddNote("      " + HeldBy(holders[i]));
  }
  return table.Render() + Omitted(cycles, top);
}

std::string RenderHolders(const json& holders, size_t top) {
  if (!holders.is_array() || holders.empty()) return "no holders\n";
  Table table({"type", "count", "bytes", "state"}, {0, 3});
  for (size_t i = 0; i < Shown(holders, top); ++i) {
    const json& holder = holders[i];
    table.Add({Text(At(holder, "type")), FormatCount(At(holder, "count")),
               FormatBytes(At(holder, "bytes")),
               Spoken(Text(At(holder, "state")))});
    table.AddNote("    " + HeldBy(At(holder, "held_by")));
  }
  return table.Render() + Omitted(holders, top);
}

std::string RenderLimits(const json& limits) {
  std::string text;
  for (size_t i = 0; limits.is_array() && i < limits.size(); ++i) {
    text += fmt::format("  {}: {}\n", Text(At(limits[i], "field")),
                        Text(At(limits[i], "reason")));
  }
  return text.empty() ? "" : "not known:\n" + text;
}

std::vector<std::string> SiteLines(const json& cycle, size_t most) {
  std::vector<std::string> lines;
  const json& sites = At(cycle, "sites");
  if (!sites.is_array()) return lines;
  for (const json& site : sites) {
    if (lines.size() == most) break;
    lines.push_back(
        fmt::format("{}:{} in {} ({}, {} times)", Text(At(site, "file")),
                    Text(At(site, "line")), Text(At(site, "function")),
                    Text(At(site, "role")), FormatCount(At(site, "count"))));
  }
  return lines;
}

std::string RenderSnapshot(const json& report, size_t top) {
  std::string text = RenderHead(report);
  text += Watched(At(report, "watched"));
  text += "\n" + RenderCycles(At(report, "cycles"), top);
  text += "\n" + RenderTypes(At(At(report, "heap"), "types"), top);
  text += "\n" + Collector(At(report, "gc"));
  text += Memory(At(report, "memory"));
  text += RenderLimits(At(report, "limits"));
  return text;
}

}  // namespace collector
