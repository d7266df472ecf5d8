#include "collector/heap/largest.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "collector/error.h"
#include "collector/heap/recorded_cycles.h"

namespace collector {

using heap::NodeId;
using heap::StringId;
using nlohmann::json;

namespace {

constexpr size_t kTypesNamed = 5;
// Entries told step by step, and steps looked at in all: a list of a million
// may be nested a million deep.
constexpr size_t kMostEntries = 100;
constexpr size_t kStepBudget = 50'000'000;

json Describe(const RecordedHeap& heap, const RetainedHeap& retained,
              NodeId node) {
  return {{"address", heap.AddressOf(node)},
          {"type", heap.file().text(heap.file().type(node).name)},
          {"label", heap.LabelOf(node)},
          {"state", heap.StateOf(node)},
          {"bytes", heap.file().size(node)},
          {"retained", retained.Of(node)}};
}

/// What goes with a node, itself left out, by type.
json GoesWith(const RecordedHeap& heap, std::span<const NodeId> nodes) {
  std::map<StringId, std::pair<uint64_t, uint64_t>> types;
  for (NodeId node : nodes.subspan(1)) {
    auto& [count, bytes] = types[heap.file().type(node).name];
    ++count;
    bytes += heap.file().size(node);
  }
  std::vector<std::pair<StringId, std::pair<uint64_t, uint64_t>>> rows(
      types.begin(), types.end());
  std::stable_sort(rows.begin(), rows.end(), [](auto& a, auto& b) {
    return a.second.second > b.second.second;
  });
  json list = json::array();
  for (size_t i = 0; i < std::min(rows.size(), kTypesNamed); ++i)
    list.push_back({{"type", heap.file().text(rows[i].first)},
                    {"count", rows[i].second.first},
                    {"bytes", rows[i].second.second}});
  return list;
}

json LargestObjects(const RecordedHeap& heap, const RetainedHeap& retained,
                    size_t most) {
  RecordedPaths paths(heap);
  json list = json::array();
  for (NodeId node : retained.Largest(most)) {
    auto goes = retained.GoesWith(node);
    json entry = Describe(heap, retained, node);
    entry["retained_objects"] = goes.size();
    entry["goes_with"] = GoesWith(heap, goes);
    entry["held_by"] = paths.Text(node, PathStyle::kExact);
    list.push_back(std::move(entry));
  }
  return list;
}

void FillTypes(json& types, const RetainedHeap& retained) {
  std::map<std::string, uint64_t> bytes = retained.OfTypes();
  for (json& type : types) {
    auto found = bytes.find(type.value("type", ""));
    if (found != bytes.end()) type["retained"] = found->second;
  }
}

void FillCycles(json& cycles, const RecordedHeap& heap,
                const RetainedHeap& retained) {
  RecordedCycles recorded(heap, heap.graph());
  std::map<std::string, size_t> rows;
  std::vector<std::vector<NodeId>> groups;
  for (const CycleRow& row : recorded.rows()) {
    rows.emplace(row.id, groups.size());
    groups.emplace_back();
    for (heap::ComponentId component : row.components) {
      auto members = recorded.Members(component);
      groups.back().insert(groups.back().end(), members.begin(), members.end());
    }
  }
  std::vector<uint64_t> bytes = retained.OfGroups(groups);
  for (json& cycle : cycles) {
    auto found = rows.find(cycle.value("id", ""));
    if (found != rows.end()) cycle["retained"] = bytes[found->second];
  }
}

/// The tables that are read or filled in; the file's checksums do not say that
/// whoever wrote the report knew of them.
void CheckTables(const json& report) {
  auto check = [](const json& holder, const char* table, const char* key) {
    bool ok = holder.is_object() && holder.contains(table) &&
              holder[table].is_array();
    for (size_t i = 0; ok && i < holder[table].size(); ++i) {
      const json& entry = holder[table][i];
      ok = entry.is_object() && entry.contains(key) && entry[key].is_string();
    }
    if (!ok)
      throw Error(fmt::format(
          "the report inside the heap file is none of cyclescope.snapshot/1: "
          "its '{}' is missing or of another form; take a new one",
          table));
  };
  check(report.value("heap", json()), "types", "type");
  check(report, "cycles", "id");
  check(report, "limits", "field");
}

void AddRetained(json& report, const RecordedHeap& heap,
                 const RetainedHeap& retained, size_t most) {
  CheckTables(report);
  FillTypes(report["heap"]["types"], retained);
  FillCycles(report["cycles"], heap, retained);
  report["heap"]["largest"] = LargestObjects(heap, retained, most);
  json& limits = report["limits"];
  auto is_known = [](const json& limit) {
    std::string field = limit.value("field", "");
    return field == "heap.types.retained" || field == "cycles.retained";
  };
  limits.erase(std::remove_if(limits.begin(), limits.end(), is_known),
               limits.end());
}

json MostRetained(json list, size_t most) {
  std::stable_sort(list.begin(), list.end(), [](const json& a, const json& b) {
    return a.value("retained", json(0)) > b.value("retained", json(0));
  });
  if (list.size() > most)
    list.erase(list.begin() + ptrdiff_t(most), list.end());
  return list;
}

/// A number as `id()` or a report gives it.
std::optional<uint64_t> ParseAddress(std::string_view text) {
  int base = text.starts_with("0x") ? 16 : 10;
  if (base == 16) text.remove_prefix(2);
  uint64_t address = 0;
  auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), address, base);
  if (error != std::errc() || end != text.data() + text.size())
    return std::nullopt;
  return address;
}

std::vector<NodeId> NodesOf(const RecordedHeap& heap, const std::string& what) {
  std::vector<NodeId> nodes;
  if (auto address = ParseAddress(what)) {
    auto addresses = heap.file().addresses();
    auto found = std::find(addresses.begin(), addresses.end(), *address);
    if (found == addresses.end())
      throw Error(fmt::format("{}: there is no object at this address", what));
    nodes.push_back(NodeId(found - addresses.begin()));
    return nodes;
  }
  std::vector<uint8_t> types = heap.TypesNamed(what);
  for (NodeId node = 0; node < heap.node_count(); ++node)
    if (types[heap.file().type_of(node)] != 0) nodes.push_back(node);
  if (nodes.empty())
    throw Error(fmt::format(
        "{}: there is no object of this type or of one that inherits from it; "
        "write the type as module.Type or Type, or an address as 0x7f…",
        what));
  return nodes;
}

json StepsTo(const RecordedHeap& heap, const RecordedPaths& paths,
             NodeId node) {
  std::vector<NodeId> path = paths.To(node);
  json steps = json::array();
  for (size_t i = 0; i < path.size(); ++i)
    steps.push_back(
        {{"edge", i == 0 ? "" : paths.StepTo(path[i], PathStyle::kExact)},
         {"address", heap.AddressOf(path[i])},
         {"type", heap.file().text(heap.file().type(path[i]).name)},
         {"label", heap.LabelOf(path[i])},
         {"bytes", heap.file().size(path[i])}});
  return steps;
}

}  // namespace

void AddRetained(json& report, const RecordedHeap& heap, size_t most) {
  AddRetained(report, heap, RetainedHeap(heap), most);
}

json Largest(const RecordedHeap& heap, size_t most) {
  // As the snapshot counts: frozen garbage is no part of what floats.
  uint64_t live = 0;
  uint64_t floating = 0;
  uint64_t frozen_objects = 0;
  uint64_t frozen = 0;
  for (NodeId node = 0; node < heap.node_count(); ++node) {
    uint64_t bytes = heap.file().size(node);
    if (heap.file().state(node) != heap::State::kFloating) {
      live += bytes;
    } else if ((heap.file().flags()[node] & heap::kFrozen) == 0) {
      floating += bytes;
    } else {
      frozen += bytes;
      ++frozen_objects;
    }
  }
  RetainedHeap retained(heap);
  json report = heap.report();
  AddRetained(report, heap, retained, most);
  json document = {{"schema", "cyclescope.top/1"},
                   {"objects", heap.node_count()},
                   {"live_bytes", live},
                   {"floating_bytes", floating},
                   {"frozen_garbage", frozen_objects},
                   {"frozen_garbage_bytes", frozen},
                   {"largest", std::move(report["heap"]["largest"])},
                   {"types", MostRetained(report["heap"]["types"], most)},
                   {"cycles", MostRetained(report["cycles"], most)},
                   {"limits", json::array()}};
  for (const json& limit : report["limits"]) {
    std::string field = limit.value("field", "");
    if (field.starts_with("heap") || field.starts_with("cycles"))
      document["limits"].push_back(limit);
  }
  return document;
}

json Paths(const RecordedHeap& heap, const std::string& type_or_address) {
  std::vector<NodeId> nodes = NodesOf(heap, type_or_address);
  RetainedHeap retained(heap);
  RecordedPaths paths(heap);
  struct Entry {
    std::string path;
    NodeId example;
    uint64_t count = 0;
    uint64_t bytes = 0;
  };
  std::map<std::string, size_t> entry_of;
  std::vector<Entry> entries;
  size_t steps = 0;
  size_t looked_at = 0;
  for (; looked_at < nodes.size() && steps < kStepBudget; ++looked_at) {
    NodeId node = nodes[looked_at];
    steps += paths.To(node).size();
    std::string text = paths.Text(node, PathStyle::kTypical);
    auto [found, is_new] = entry_of.emplace(
        std::string(heap.StateOf(node)) + " " + text, entries.size());
    if (is_new) entries.push_back({text, node});
    Entry& entry = entries[found->second];
    ++entry.count;
    entry.bytes += heap.file().size(node);
    if (retained.Of(node) > retained.Of(entry.example)) entry.example = node;
  }
  std::stable_sort(
      entries.begin(), entries.end(),
      [](const Entry& a, const Entry& b) { return a.count > b.count; });
  json document = {{"schema", "cyclescope.path/1"}, {"wanted", type_or_address},
                   {"objects", nodes.size()},       {"paths", json::array()},
                   {"paths_total", entries.size()}, {"limits", json::array()}};
  if (looked_at < nodes.size())
    document["limits"].push_back(
        {{"field", "paths"},
         {"reason", fmt::format("the paths of {} objects were left out: they "
                                "are long",
                                nodes.size() - looked_at)}});
  if (entries.size() > kMostEntries) entries.resize(kMostEntries);
  for (const Entry& entry : entries) {
    json example = Describe(heap, retained, entry.example);
    std::vector<NodeId> path = paths.To(entry.example);
    example["start"] = paths.StartOf(path);
    example["path"] = paths.Text(entry.example, PathStyle::kExact);
    example["steps"] = StepsTo(heap, paths, entry.example);
    document["paths"].push_back({{"path", entry.path},
                                 {"state", heap.StateOf(entry.example)},
                                 {"count", entry.count},
                                 {"bytes", entry.bytes},
                                 {"example", std::move(example)}});
  }
  return document;
}

}  // namespace collector
