// Two snapshots say exactly what grew, but not whether it will go on: that is
// the verdict's business. Types are matched by name, holders by the id that the
// inspector gives place and type, cycles by signature. The lists of a report
// are complete but for small holders of builtin types, so what is not in one of
// them counts as 0.

#include "collector/verdict/growth.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "collector/error.h"
#include "collector/verdict/json_access.h"

namespace collector {
namespace {

using nlohmann::json;

/// An entry before and after; either may be null.
struct Pair {
  const json* before = nullptr;
  const json* after = nullptr;

  int64_t Before(const char* field) const { return At(before, field); }
  int64_t After(const char* field) const { return At(after, field); }
  int64_t Grew(const char* field) const { return After(field) - Before(field); }
  const json& either() const { return after ? *after : *before; }

 private:
  static int64_t At(const json* entry, const char* field) {
    if (entry == nullptr) return 0;
    return static_cast<int64_t>(NumberAt(*entry, field).value_or(0));
  }
};

using Pairs = std::map<std::string, Pair>;

/// The entries of both lists by the text under `key`.
Pairs Match(const json& before, const json& after, const char* list,
            const char* key) {
  Pairs pairs;
  auto take = [&](const json& report, const json* Pair::*side) {
    const json& entries = At(report, list);
    if (!entries.is_array()) return;
    for (const json& entry : entries)
      if (std::string name = TextAt(entry, key); !name.empty())
        pairs[name].*side = &entry;
  };
  take(before, &Pair::before);
  take(after, &Pair::after);
  return pairs;
}

/// The state of most of what is new; `pinned` where only bytes grew.
std::string StateOf(const json& entry) {
  int64_t never = entry["never"];
  std::pair<const char*, int64_t> states[] = {
      {"pinned", entry["pinned"]},
      {"in_flight", entry["in_flight"]},
      {"floating", entry["floating"].get<int64_t>() - never},
      {"never", never}};
  bool shrank = entry["bytes"] < 0;
  return std::max_element(std::begin(states), std::end(states),
                          [shrank](const auto& a, const auto& b) {
                            return shrank ? a.second > b.second
                                          : a.second < b.second;
                          })
      ->first;
}

json EntryOf(const Pair& pair) {
  json entry;
  for (const char* field :
       {"count", "bytes", "pinned", "floating", "in_flight", "never"})
    entry[field] = pair.Grew(field);
  for (const char* field : {"count", "bytes"}) {
    entry["before"][field] = pair.Before(field);
    entry["after"][field] = pair.After(field);
  }
  entry["state"] = StateOf(entry);
  return entry;
}

bool Grows(const json& entry) {
  return entry["bytes"] > 0 || (entry["bytes"] == 0 && entry["count"] > 0);
}

void SortByGrowth(json& entries, const char* name) {
  std::stable_sort(entries.begin(), entries.end(),
                   [name](const json& a, const json& b) {
                     for (const char* field : {"bytes", "count"})
                       if (a[field] != b[field])
                         return std::abs(a[field].get<int64_t>()) >
                                std::abs(b[field].get<int64_t>());
                     return a[name] < b[name];
                   });
}

class Comparison {
 public:
  Comparison(const json& before, const json& after)
      : before_(before),
        after_(after),
        types_(Match(before, after, "heap/types", "type")),
        cycles_(Match(before, after, "cycles", "signature")) {
    for (const auto& [id, pair] : Match(before, after, "heap/holders", "id"))
      holders_[TextAt(pair.either(), "type")].push_back(pair);
  }

  json Run() {
    json result = {{"schema", "cyclescope.diff/1"},
                   {"grew", json::array()},
                   {"shrank", json::array()}};
    Header(result);
    result["cycles"] = Cycles();
    for (const auto& [type, pair] : types_) {
      if (IsBuiltinType(type))
        Builtin(type, pair, result);
      else
        Add(TypeEntry(type, pair, result["cycles"]), result);
    }
    SortByGrowth(result["grew"], "type");
    SortByGrowth(result["shrank"], "type");
    result["heap"] =
        Figures("heap", {"objects", "bytes", "tracked", "floating_objects",
                         "floating_bytes", "frozen_garbage"});
    std::vector<std::string> parts;
    for (const json* report : {&after_, &before_}) {
      const json& memory = At(*report, "memory");
      if (!memory.is_object()) continue;
      for (const auto& [part, value] : memory.items())
        if ((value.is_number() || value.is_null()) &&
            std::find(parts.begin(), parts.end(), part) == parts.end())
          parts.push_back(part);
    }
    result["memory"] = Figures("memory", parts);
    result["gc"] = Collector();
    return result;
  }

 private:
  static void Add(const json& entry, json& result) {
    if (Grows(entry))
      result["grew"].push_back(entry);
    else if (entry["bytes"] < 0 || entry["count"] < 0)
      result["shrank"].push_back(entry);
  }

  void Header(json& result) const {
    for (const char* field : {"pid", "started", "python", "executable"})
      result["process"][field] = At(At(after_, "process"), field);
    result["before"] = At(before_, "taken/at");
    result["after"] = At(after_, "taken/at");
  }

  /// What the holders of the type gained, the largest first.
  json GrowingHolders(const std::string& type, int64_t at_most) const {
    json growing = json::array();
    auto found = holders_.find(type);
    if (found == holders_.end()) return growing;
    for (const Pair& pair : found->second) {
      if (pair.Grew("bytes") <= 0) continue;
      growing.push_back({{"held_by", At(pair.either(), "held_by")},
                         {"state", At(pair.either(), "state")},
                         {"count", std::min(pair.Grew("count"), at_most)},
                         {"bytes", pair.Grew("bytes")}});
    }
    SortByGrowth(growing, "held_by");
    return growing;
  }

  json TypeEntry(const std::string& type, const Pair& pair,
                 const json& cycles) const {
    json entry = EntryOf(pair);
    entry["type"] = type;
    entry["held_by"] = nullptr;
    entry["held_by_count"] = nullptr;
    entry["holders"] = json::array();
    entry["cycle"] = CycleThrough(type, cycles);
    if (!Grows(entry)) return entry;
    entry["holders"] =
        GrowingHolders(type, std::max<int64_t>(pair.Grew("count"), 0));
    if (entry["state"] == "floating" || entry["state"] == "never") return entry;
    if (!entry["holders"].empty()) {
      entry["held_by"] = entry["holders"][0]["held_by"];
      entry["held_by_count"] = entry["holders"][0]["count"];
    } else if (pair.after) {  // A report without `heap.holders`.
      entry["held_by"] = At(*pair.after, "held_by");
    }
    return entry;
  }

  /// An entry for each holder, and one for what they leave.
  void Builtin(const std::string& type, const Pair& pair, json& result) const {
    json rest = EntryOf(pair);
    rest["type"] = type;
    rest["held_by"] = nullptr;
    rest["held_by_count"] = nullptr;
    rest["holders"] = json::array();
    rest["cycle"] = nullptr;
    auto found = holders_.find(type);
    if (found != holders_.end()) {
      for (const Pair& holder : found->second) {
        json entry = rest;
        std::string state = TextAt(holder.either(), "state");
        for (const char* field : {"count", "bytes"}) {
          entry[field] = holder.Grew(field);
          entry["before"][field] = holder.Before(field);
          entry["after"][field] = holder.After(field);
          for (const char* side : {"before", "after"})
            rest[side][field] = rest[side][field].get<int64_t>() -
                                entry[side][field].get<int64_t>();
          rest[field] = rest[field].get<int64_t>() - holder.Grew(field);
        }
        for (const char* field : {"pinned", "floating", "in_flight", "never"})
          entry[field] = field == state ? holder.Grew("count") : 0;
        if (rest.contains(state))
          rest[state] = rest[state].get<int64_t>() - holder.Grew("count");
        entry["state"] = state;
        entry["held_by"] = At(holder.either(), "held_by");
        entry["held_by_count"] = entry["count"];
        Add(entry, result);
      }
    }
    rest["state"] = StateOf(rest);
    Add(rest, result);
  }

  json Cycles() const {
    json cycles = json::array();
    for (const auto& [signature, pair] : cycles_) {
      json entry = EntryOf(pair);
      if (!Grows(entry)) continue;
      entry["signature"] = signature;
      for (const char* field : {"id", "sites", "sites_total", "held_by"})
        entry[field] = At(pair.either(), field);
      cycles.push_back(std::move(entry));
    }
    SortByGrowth(cycles, "signature");
    return cycles;
  }

  /// The growing signature that names the last part of the type.
  static json CycleThrough(const std::string& type, const json& cycles) {
    static constexpr std::string_view kArrow = " → ";
    std::string label = type.substr(type.rfind('.') + 1);
    for (const json& cycle : cycles) {
      std::string signature = TextAt(cycle, "signature");
      if (signature.starts_with(label + std::string(kArrow)) ||
          signature.find(fmt::format("{}{}{}", kArrow, label, kArrow)) !=
              std::string::npos)
        return signature;
    }
    return nullptr;
  }

  json Figures(const std::string& block,
               const std::vector<std::string>& fields) const {
    json figures = json::object();
    for (const std::string& field : fields) {
      std::string path = block + "/" + field;
      json& figure = figures[field];
      figure = {{"before", At(before_, path)},
                {"after", At(after_, path)},
                {"growth", nullptr}};
      auto from = NumberAt(before_, path);
      auto to = NumberAt(after_, path);
      if (from && to)
        figure["growth"] = static_cast<int64_t>(*to - *from);
      else
        figure["reason"] =
            ReasonFor(block + "." + field, to ? before_ : after_);
    }
    return figures;
  }

  static std::string ReasonFor(const std::string& field, const json& report) {
    const json& limits = At(report, "limits");
    if (limits.is_array())
      for (const json& limit : limits)
        if (TextAt(limit, "field") == field) return TextAt(limit, "reason");
    return "the report does not say";
  }

  json Collector() const {
    json gc = Figures("gc", {"frozen"});
    gc["enabled"] = {{"before", At(before_, "gc/enabled")},
                     {"after", At(after_, "gc/enabled")}};
    gc["threshold"] = {{"before", At(before_, "gc/thresholds/0")},
                       {"after", At(after_, "gc/thresholds/0")}};
    gc["generations"] = json::array();
    const json& stats = At(after_, "gc/stats");
    for (size_t i = 0; stats.is_array() && i < stats.size(); ++i) {
      json generation;
      for (const char* field : {"collections", "collected", "uncollectable"}) {
        std::string path = fmt::format("gc/stats/{}/{}", i, field);
        auto from = NumberAt(before_, path);
        auto to = NumberAt(after_, path);
        generation[field] = from && to ? json(int64_t(*to - *from)) : json();
      }
      gc["generations"].push_back(generation);
    }
    return gc;
  }

  const json& before_;
  const json& after_;
  Pairs types_;
  Pairs cycles_;
  std::map<std::string, std::vector<Pair>> holders_;  // By type.
};

}  // namespace

bool IsBuiltinType(const std::string& type) {
  return type.find('.') == std::string::npos || type.starts_with("builtins.");
}

json Growth(const json& before, const json& after) {
  for (const char* field : {"pid", "started"}) {
    const json& from = At(At(before, "process"), field);
    const json& to = At(At(after, "process"), field);
    if (from == to) continue;
    throw NotComparable(fmt::format(
        "the two snapshots are not of one process: `{}` is {} in the first and "
        "{} in the second",
        field, from.dump(), to.dump()));
  }
  // Both in one form, so that texts are in the order of time.
  if (TextAt(before, "taken/at") > TextAt(after, "taken/at"))
    throw NotComparable(fmt::format(
        "the first snapshot was taken at {}, after the second ({}): swap them",
        TextAt(before, "taken/at"), TextAt(after, "taken/at")));
  return Comparison(before, after).Run();
}

}  // namespace collector
