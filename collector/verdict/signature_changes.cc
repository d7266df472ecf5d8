#include "collector/verdict/signature_changes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "collector/verdict/cycles.h"
#include "collector/verdict/json_access.h"
#include "collector/verdict/objects_leg.h"

namespace collector {
namespace {

using nlohmann::json;

// Floating is without never here, so that the states add up. What stays comes
// first.
constexpr std::array<const char*, 4> kStates = {"never", "pinned", "floating",
                                                "in_flight"};
constexpr size_t kStatesThatStay = 2;
using Counts = std::array<double, 4>;

/// One signature over the snapshots of one run.
struct Sightings {
  Counts first = {};
  Counts last = {};
  Counts most = {};
  double most_at_a_time = 0;
  bool watched = false;

  double growth(size_t state) const { return last[state] - first[state]; }
  double kept_growth() const { return growth(0) + growth(1); }
};

struct RunSightings {
  std::map<std::string, Sightings> signatures;
  double units = 0;
};

RunSightings See(const ServiceRun& service) {
  RunSightings run;
  auto snapshots = EvenSnapshots(service);
  if (snapshots.empty()) return run;
  run.units =
      static_cast<double>(snapshots.back()->units - snapshots.front()->units);
  for (const SnapshotAtUnits* snapshot : snapshots) {
    const json& cycles = At(snapshot->report, "cycles");
    if (!cycles.is_array()) continue;
    std::map<std::string, Counts> here;
    for (const json& cycle : cycles) {
      std::string signature = TextAt(cycle, "signature");
      if (signature.empty()) continue;
      double never = NumberAt(cycle, "never").value_or(0);
      Counts& counts = here[signature];
      counts[0] += never;
      counts[1] += NumberAt(cycle, "pinned").value_or(0);
      counts[2] += NumberAt(cycle, "floating").value_or(0) - never;
      counts[3] += NumberAt(cycle, "in_flight").value_or(0);
      run.signatures[signature].watched |=
          IsThroughWatched(cycle, snapshot->report);
    }
    for (const auto& [signature, counts] : here) {
      Sightings& seen = run.signatures[signature];
      double all = 0;
      for (size_t state = 0; state < kStates.size(); ++state) {
        seen.most[state] = std::max(seen.most[state], counts[state]);
        all += counts[state];
      }
      seen.most_at_a_time = std::max(seen.most_at_a_time, all);
      if (snapshot == snapshots.front()) seen.first = counts;
      if (snapshot == snapshots.back()) seen.last = counts;
    }
  }
  return run;
}

size_t MainState(const Sightings& before, const Sightings& after) {
  size_t main = 0;
  for (size_t state = 1; state < kStates.size(); ++state)
    if (std::max(before.most[state], after.most[state]) >
        std::max(before.most[main], after.most[main]))
      main = state;
  return main;
}

std::string ChangeOf(const Sightings& before, const Sightings& after,
                     bool kept) {
  double from = kept ? before.kept_growth() : before.most_at_a_time;
  double to = kept ? after.kept_growth() : after.most_at_a_time;
  if (!kept && std::max(from, to) <= kSameObjects) return "same";
  if (after.most_at_a_time == 0) return "removed";
  if (before.most_at_a_time == 0) return "new";
  double tolerance = std::max(
      kSameObjects, kSameShare * std::max(std::abs(from), std::abs(to)));
  if (std::abs(to - from) <= tolerance) return "same";
  return to < from ? "fewer" : "more";
}

json EntryFor(const std::string& signature, const Sightings& before,
              const Sightings& after, double units_before, double units_after) {
  const bool kept = before.kept_growth() != 0 || after.kept_growth() != 0;
  const size_t state = MainState(before, after);
  json entry = {{"signature", signature},
                {"watched", before.watched || after.watched},
                {"change", ChangeOf(before, after, kept)},
                {"state", kStates[state]},
                {"per_unit_before", nullptr},
                {"per_unit_after", nullptr},
                {"most_before", before.most_at_a_time},
                {"most_after", after.most_at_a_time},
                {"reason", nullptr}};
  if (units_before <= 0 || units_after <= 0) {
    entry["reason"] = "a run has one snapshot only";
  } else if (!kept && state >= kStatesThatStay) {
    entry["reason"] = "not kept: compared by the most alive at a time";
  } else {
    entry["per_unit_before"] = before.kept_growth() / units_before;
    entry["per_unit_after"] = after.kept_growth() / units_after;
  }
  return entry;
}

/// What is watched first, then what changed, then the most.
void Sort(json& entries) {
  auto rank = [](const json& entry) {
    return std::tuple(entry["watched"] == false, entry["change"] == "same",
                      -std::max(entry["most_before"].get<double>(),
                                entry["most_after"].get<double>()));
  };
  std::stable_sort(
      entries.begin(), entries.end(),
      [&rank](const json& a, const json& b) { return rank(a) < rank(b); });
}

}  // namespace

json SignatureChanges(const ServiceRun& base, const ServiceRun& patched) {
  RunSightings before = See(base), after = See(patched);
  std::set<std::string> names;
  for (const RunSightings* run : {&before, &after})
    for (const auto& [name, seen] : run->signatures) names.insert(name);
  json changes = {{"removed", json::array()},
                  {"remaining", json::array()},
                  {"new", json::array()}};
  for (const std::string& name : names) {
    const Sightings& from = before.signatures[name];
    const Sightings& to = after.signatures[name];
    if (from.most_at_a_time == 0 && to.most_at_a_time == 0) continue;
    json entry = EntryFor(name, from, to, before.units, after.units);
    std::string change = entry["change"];
    bool listed = change == "removed" || change == "new";
    changes[listed ? change : "remaining"].push_back(std::move(entry));
  }
  for (auto& [list, entries] : changes.items()) Sort(entries);
  return changes;
}

}  // namespace collector
