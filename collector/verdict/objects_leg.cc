// Which types and cycle signatures grow, and whether that is a leak. The counts
// are exact, so no statistics: something that leaks grows in *every* interval
// between snapshots at equal unit counts (the rule of LeakCanary's heap growth
// and of memlab), fast enough to matter and without slowing down, which is what
// tells it from a cache that fills. What no collection will ever take needs
// none of that: nothing gives it back.
//
// A type of the interpreter itself (dict, tuple, frame ...) says nothing on its
// own: whoever holds it grows as well. It is judged only when nothing with a
// name of its own grows in the same state.

#include "collector/verdict/objects_leg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "collector/verdict/collection.h"
#include "collector/verdict/cycles.h"
#include "collector/verdict/json_access.h"
#include "collector/verdict/statistics.h"
#include "collector/verdict/words.h"

namespace collector {
namespace {

using nlohmann::json;
using Snapshots = std::vector<const SnapshotAtUnits*>;

/// A type or a signature with its counts in each judged snapshot.
struct Tracked {
  std::string name;
  const char* kind;                                   // "cycle", "type".
  std::map<std::string, std::vector<double>> counts;  // By field.
  const json* last = nullptr;  // Its entry in the last snapshot that has it.
  bool watched = false;        // Is a watched type, or runs through one.
};

bool IsBuiltin(const std::string& type) {
  return type.find('.') == std::string::npos || type.starts_with("builtins.");
}

/// Every entry of `list` over the snapshots. The lists are complete, so what is
/// not in one counts as 0 there. Entries of the same name are added up.
std::vector<Tracked> Collect(const Snapshots& snapshots, const char* list,
                             const char* name_field, const char* kind) {
  static constexpr const char* kFields[] = {"pinned", "pinned_bytes",
                                            "floating", "never", "bytes"};
  std::map<std::string, Tracked> found;
  for (size_t i = 0; i < snapshots.size(); ++i) {
    const json& entries = At(snapshots[i]->report, list);
    if (!entries.is_array()) continue;
    for (const json& entry : entries) {
      std::string name = TextAt(entry, name_field);
      if (name.empty()) continue;
      Tracked& tracked = found[name];
      tracked.name = name;
      tracked.kind = kind;
      tracked.last = &entry;
      tracked.watched |= IsThroughWatched(entry, snapshots[i]->report);
      for (const char* field : kFields) {
        auto& counts = tracked.counts[field];
        counts.resize(snapshots.size());
        counts[i] += NumberAt(entry, field).value_or(0);
      }
    }
  }
  std::vector<Tracked> all;
  for (auto& [name, tracked] : found) all.push_back(std::move(tracked));
  return all;
}

bool GrewInEveryInterval(const std::vector<double>& values,
                         const std::vector<double>& units,
                         double least_per_unit) {
  for (size_t i = 1; i < values.size(); ++i) {
    double growth = values[i] - values[i - 1];
    if (growth <= 0 || growth < least_per_unit * (units[i] - units[i - 1]))
      return false;
  }
  return values.size() > 1;
}

double PerUnit(const std::vector<double>& values,
               const std::vector<double>& units) {
  return (values.back() - values.front()) / (units.back() - units.front());
}

/// Growth per unit of the second half over that of the first; an odd interval
/// in the middle belongs to neither.
double SecondHalfShare(const std::vector<double>& values,
                       const std::vector<double>& units) {
  size_t half = (values.size() - 1) / 2;
  size_t last = values.size() - 1;
  double first_rate = (values[half] - values[0]) / (units[half] - units[0]);
  double second_rate =
      (values[last] - values[last - half]) / (units[last] - units[last - half]);
  return first_rate > 0 ? second_rate / first_rate : 0;
}

json EntryFor(const Tracked& tracked, const char* state,
              const std::vector<double>& units) {
  const auto& counts = tracked.counts.at(state);
  json bytes = nullptr;
  if (std::string(state) == "pinned" && std::string(tracked.kind) == "type")
    bytes = PerUnit(tracked.counts.at("pinned_bytes"), units);
  json holders = At(*tracked.last, "held_by");
  return {{"signature", tracked.name},
          {"kind", tracked.kind},
          {"watched", tracked.watched},
          {"state", state},
          {"count", counts.back()},
          {"per_unit", PerUnit(counts, units)},
          {"bytes_per_unit", bytes},
          {"held_by", holders},
          {"sites", At(*tracked.last, "sites")}};
}

/// The rule of the file's head on one type or signature.
void Judge(const Tracked& tracked, const std::vector<double>& units,
           bool floating_is_taken, json& growing) {
  const auto& never = tracked.counts.at("never");
  if (GrewInEveryInterval(never, units, 0)) {
    json entry = EntryFor(tracked, "never", units);
    entry["leaks"] = true;
    entry["reason"] =
        "no collection takes them, and they grew in every "
        "interval";
    growing.push_back(std::move(entry));
  }

  const auto& pinned = tracked.counts.at("pinned");
  const auto& pinned_bytes = tracked.counts.at("pinned_bytes");
  bool count_grew = GrewInEveryInterval(pinned, units, kLeastObjectsPerUnit);
  bool bytes_grew =
      GrewInEveryInterval(pinned_bytes, units, kLeastBytesPerUnit);
  if (count_grew || bytes_grew) {
    double share = 0;
    if (count_grew) share = SecondHalfShare(pinned, units);
    if (bytes_grew)
      share = std::max(share, SecondHalfShare(pinned_bytes, units));
    bool steady = share >= kSteadyShare;
    bool long_enough = units.back() - units.front() >= kPinnedUnits;
    json entry = EntryFor(tracked, "pinned", units);
    entry["leaks"] = steady && long_enough;
    entry["second_half_share"] = share;
    entry["reason"] =
        !steady ? "it grew in every interval but slows down, as a cache does"
        : !long_enough
            ? "it grew in every interval, over too few units to tell it from "
              "a cache that fills"
            : "it grew in every interval and does not slow down";
    growing.push_back(std::move(entry));
  }

  const auto& floating = tracked.counts.at("floating");
  std::vector<double> taken_some_day = floating;
  for (size_t i = 0; i < floating.size(); ++i) taken_some_day[i] -= never[i];
  if (!floating_is_taken &&
      GrewInEveryInterval(taken_some_day, units, kLeastObjectsPerUnit)) {
    json entry = EntryFor(tracked, "floating", units);
    entry["leaks"] = false;
    entry["reason"] =
        "floating objects grew in every interval, and when a "
        "collection takes them is not known";
    growing.push_back(std::move(entry));
  }
}

/// Drops the interpreter's own types where something with a name of its own
/// grows in the same state, then sorts: leaks first, what is watched first,
/// cycles before types, the fastest first.
json WithoutExplained(const json& growing) {
  auto rank = [](const json& entry) {
    return std::tuple(!entry["leaks"].get<bool>(), entry["watched"] == false,
                      entry["kind"] == "type", -entry["per_unit"].get<double>(),
                      entry["signature"].get<std::string>());
  };
  auto is_builtin = [](const json& entry) {
    return entry["kind"] == "type" &&
           IsBuiltin(entry["signature"].get<std::string>());
  };
  std::vector<json> kept;
  for (const json& entry : growing) {
    bool explained =
        is_builtin(entry) &&
        std::any_of(growing.begin(), growing.end(), [&](const json& other) {
          return !is_builtin(other) && other["state"] == entry["state"] &&
                 other["leaks"] >= entry["leaks"];
        });
    if (!explained) kept.push_back(entry);
  }
  std::stable_sort(
      kept.begin(), kept.end(),
      [&rank](const json& a, const json& b) { return rank(a) < rank(b); });
  return kept;
}

/// What floats and is taken in time: how much at most, and when.
json Bounded(const std::vector<Tracked>& all, const std::vector<double>& units,
             const FullCollection& next) {
  json bounded = json::array();
  if (!next.in_units) return bounded;
  for (const Tracked& tracked : all) {
    const auto& floating = tracked.counts.at("floating");
    const auto& never = tracked.counts.at("never");
    double most = *std::max_element(floating.begin(), floating.end());
    if (most <= 0 || never.back() > 0) continue;
    std::vector<double> rates;
    for (size_t i = 1; i < floating.size(); ++i)
      if (floating[i] >= floating[i - 1])
        rates.push_back((floating[i] - floating[i - 1]) /
                        (units[i] - units[i - 1]));
    double rate = rates.empty() ? 0 : Median(rates);
    bounded.push_back(
        {{"signature", tracked.name},
         {"kind", tracked.kind},
         {"watched", tracked.watched},
         {"state", "floating"},
         {"count", floating.back()},
         {"bound",
          std::ceil(std::max(most, floating.back() + rate * *next.in_units))},
         {"in_units", *next.in_units}});
  }
  return bounded;
}

/// Bytes per unit that pinned and `never` objects account for. Bytes of `never`
/// are not told apart in the report: their share of the floating objects is
/// taken for their share of the floating bytes.
std::optional<double> ExplainedBytes(const Snapshots& snapshots) {
  std::vector<double> x, y;
  for (const SnapshotAtUnits* snapshot : snapshots) {
    auto all = NumberAt(snapshot->report, "heap/bytes");
    auto floating = NumberAt(snapshot->report, "heap/floating_bytes");
    const json& types = At(snapshot->report, "heap/types");
    if (!all || !floating || !types.is_array()) return std::nullopt;
    double floating_count = 0, never_count = 0;
    for (const json& type : types) {
      floating_count += NumberAt(type, "floating").value_or(0);
      never_count += NumberAt(type, "never").value_or(0);
    }
    double share = floating_count > 0 ? never_count / floating_count : 0;
    x.push_back(static_cast<double>(snapshot->units));
    y.push_back(*all - *floating + *floating * share);
  }
  if (x.size() < 2 || x.front() == x.back()) return std::nullopt;
  return FitLine(x, y).slope;
}

json Need(const std::string& text, std::optional<double> units_more) {
  return {{"leg", "objects"},
          {"text", text},
          {"units_more", OrNull(units_more)},
          {"hours_more", nullptr}};
}

}  // namespace

std::vector<const SnapshotAtUnits*> EvenSnapshots(const ServiceRun& service) {
  Snapshots readable;
  for (const SnapshotAtUnits& snapshot : service.snapshots)
    if (snapshot.report.is_object()) readable.push_back(&snapshot);
  std::stable_sort(readable.begin(), readable.end(),
                   [](auto* a, auto* b) { return a->units < b->units; });
  std::vector<double> distances;
  for (size_t i = 1; i < readable.size(); ++i)
    if (readable[i]->units > readable[i - 1]->units)
      distances.push_back(
          static_cast<double>(readable[i]->units - readable[i - 1]->units));
  if (distances.empty())
    return readable.empty() ? readable : Snapshots{readable.back()};
  double least = Median(distances) / 2;
  Snapshots even;
  for (const SnapshotAtUnits* snapshot : readable) {
    if (!even.empty() &&
        static_cast<double>(snapshot->units - even.back()->units) < least)
      even.pop_back();
    even.push_back(snapshot);
  }
  return even;
}

std::optional<double> GrowthPerUnit(
    const Snapshots& snapshots, const std::vector<std::string>& summed_paths) {
  std::vector<double> x, y;
  for (const SnapshotAtUnits* snapshot : snapshots) {
    double sum = 0;
    for (const std::string& path : summed_paths) {
      auto value = NumberAt(snapshot->report, path);
      if (!value) return std::nullopt;
      sum += *value;
    }
    x.push_back(static_cast<double>(snapshot->units));
    y.push_back(sum);
  }
  if (x.size() < 2 || x.front() == x.back()) return std::nullopt;
  return FitLine(x, y).slope;
}

json JudgeObjects(const ServiceRun& service, const std::string& unit) {
  json leg = {{"verdict", "not_enough_data"},
              {"growing", json::array()},
              {"bounded", json::array()},
              {"snapshots", service.snapshots.size()},
              {"snapshots_judged", 0},
              {"units", nullptr},
              {"explained_bytes_per_unit", nullptr},
              {"needs", json::array()}};
  Snapshots even = EvenSnapshots(service);
  if (!even.empty()) leg["units"] = even.back()->units;
  const bool enough = even.size() >= kSnapshotsNeeded;
  json more_snapshots;
  if (!enough) {
    std::optional<double> more;
    if (even.size() > 1)
      more = static_cast<double>(even.back()->units - even.front()->units) /
             static_cast<double>(even.size() - 1) *
             static_cast<double>(kSnapshotsNeeded - even.size());
    more_snapshots =
        Need(fmt::format("{} snapshots at equal {} counts, there are {}",
                         kSnapshotsNeeded, unit, even.size()),
             more);
  }
  if (even.size() < kSnapshotsForNever) {
    leg["needs"].push_back(more_snapshots);
    return leg;
  }
  even.erase(even.begin(), even.begin() + kSnapshotsDropped);
  leg["snapshots_judged"] = even.size();
  const char* unread = nullptr;
  for (const SnapshotAtUnits* snapshot : even)
    for (const char* list : {"heap/types", "cycles"})
      if (!At(snapshot->report, list).is_array()) unread = list;
  if (unread) {
    leg["needs"].push_back(
        Need(fmt::format("`{}` in every snapshot, one has none", unread), {}));
    return leg;
  }

  std::vector<double> units;
  for (const SnapshotAtUnits* snapshot : even)
    units.push_back(static_cast<double>(snapshot->units));
  std::vector<Tracked> all = Collect(even, "cycles", "signature", "cycle");
  const size_t cycle_count = all.size();
  for (Tracked& type : Collect(even, "heap/types", "type", "type"))
    all.push_back(std::move(type));

  const FullCollection next = NextFullCollection(service);
  json growing = json::array();
  for (const Tracked& tracked : all)
    Judge(tracked, units, next.reason.empty(), growing);
  if (!enough)
    for (json& entry : growing)
      if (entry["state"] != "never" && entry["leaks"] == true) {
        entry["leaks"] = false;
        entry["reason"] = "it grew in every interval, over too few snapshots";
      }
  leg["growing"] = WithoutExplained(growing);
  all.resize(cycle_count);
  leg["bounded"] = Bounded(all, units, next);
  leg["explained_bytes_per_unit"] = OrNull(ExplainedBytes(even));

  bool leaks = false, slows = false, short_of_units = false;
  for (const json& entry : leg["growing"]) {
    leaks |= entry["leaks"] == true;
    if (entry["leaks"] == true || entry["state"] != "pinned") continue;
    (entry["second_half_share"] >= kSteadyShare ? short_of_units : slows) =
        true;
  }
  leg["verdict"] = leaks                              ? "leak"
                   : enough && leg["growing"].empty() ? "clean"
                                                      : "not_enough_data";
  if (leaks) return leg;
  if (!enough) {
    leg["needs"].push_back(more_snapshots);
    return leg;
  }
  double judged = units.back() - units.front();
  if (short_of_units)
    leg["needs"].push_back(
        Need(fmt::format("{} between the third and the last snapshot to tell "
                         "pinned growth from a cache that fills, there are {}",
                         Units(kPinnedUnits, unit), Count(judged)),
             (kPinnedUnits - judged) * units.back() / judged));
  else if (slows)
    leg["needs"].push_back(
        Need("a longer run, until what grows but slows down has stopped", {}));
  return leg;
}

}  // namespace collector
