#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "collector/error.h"
#include "collector/verdict/collection.h"
#include "collector/verdict/cycles.h"
#include "collector/verdict/json_access.h"
#include "collector/verdict/memory_leg.h"
#include "collector/verdict/objects_leg.h"
#include "collector/verdict/statistics.h"
#include "collector/verdict/verdict.h"
#include "collector/verdict/words.h"

namespace collector {
namespace {

using nlohmann::json;

std::string UnitName(const RunFacts& run) {
  std::string name = TextAt(run.description, "unit/name");
  return name.empty() ? "unit" : name;
}

const SnapshotAtUnits* LastSnapshot(const ServiceRun& service) {
  const SnapshotAtUnits* last = nullptr;
  for (const SnapshotAtUnits& snapshot : service.snapshots)
    if (snapshot.report.is_object()) last = &snapshot;
  return last;
}

/// Why the run says nothing about the service; empty if it does.
json InvalidReasons(const ServiceRun& service) {
  json reasons = json::array();
  for (const RunEvent& event : service.events) {
    if (event.kind == "restart")
      reasons.push_back("the service restarted: " + event.text);
    if (event.kind == "load_not_reached")
      reasons.push_back("the planned load was not reached: " + event.text);
  }
  std::set<std::string> processes;
  std::map<std::string, std::set<std::string>> hashes;
  for (const SnapshotAtUnits& snapshot : service.snapshots) {
    const json& pid = At(snapshot.report, "process/pid");
    if (pid.is_number()) processes.insert(pid.dump());
    const json& functions = At(snapshot.report, "code/functions");
    if (!functions.is_array()) continue;
    std::map<std::string, std::set<std::string>> here;
    for (const json& function : functions)
      here[TextAt(function, "function")].insert(TextAt(function, "hash"));
    for (const auto& [name, codes] : here)
      if (codes.size() == 1) hashes[name].insert(codes.begin(), codes.end());
  }
  if (processes.size() > 1)
    reasons.push_back(fmt::format(
        "the snapshots come from {} different processes", processes.size()));
  for (const auto& [name, codes] : hashes)
    if (codes.size() > 1) {
      reasons.push_back("the code of " + name + " changed during the run");
      break;
    }
  return reasons;
}

/// Median and maximum of a cost over the snapshots that know it.
json CostOf(const ServiceRun& service, const char* path) {
  std::vector<double> values;
  for (const SnapshotAtUnits& snapshot : service.snapshots)
    if (auto value = NumberAt(snapshot.report, path)) values.push_back(*value);
  if (values.empty()) return nullptr;
  double most = *std::max_element(values.begin(), values.end());
  return {{"median", Median(values)}, {"max", most}};
}

json Inspection(const ServiceRun& service) {
  return {{"snapshots", service.snapshots.size()},
          {"gil_wait_us", CostOf(service, "taken/gil_wait_us")},
          {"pause_us", CostOf(service, "taken/pause_us")},
          {"child_ms", CostOf(service, "taken/child_ms")},
          {"child_peak_bytes", CostOf(service, "taken/child_peak_bytes")},
          {"cow_bytes", CostOf(service, "taken/cow_bytes")}};
}

/// The cycles of the last snapshot that are asked about (those through watched
/// types, if any are watched), without their long examples.
json CyclesOf(const SnapshotAtUnits* last) {
  if (!last || !At(last->report, "cycles").is_array()) return nullptr;
  json cycles = json::array();
  for (const json& cycle : CyclesOfInterest(last->report)) {
    json copy = json::object();
    for (const char* field :
         {"id", "signature", "count", "closures", "bytes", "pinned", "floating",
          "in_flight", "never", "sites", "held_by"})
      copy[field] = At(cycle, field);
    cycles.push_back(std::move(copy));
  }
  std::stable_sort(cycles.begin(), cycles.end(),
                   [](const json& a, const json& b) {
                     return NumberAt(a, "count").value_or(0) >
                            NumberAt(b, "count").value_or(0);
                   });
  return cycles;
}

/// Growth of the process's own memory figures in bytes per unit: what the slope
/// is made of.
json CauseOf(const ServiceRun& service) {
  auto even = EvenSnapshots(service);
  if (even.size() > kSnapshotsDropped)
    even.erase(even.begin(), even.begin() + kSnapshotsDropped);
  auto growth = [&even](std::vector<std::string> paths) {
    return OrNull(GrowthPerUnit(even, paths));
  };
  json native = growth({"memory/malloc_used", "memory/other_mappings",
                        "memory/module_data", "memory/unexplained"});
  if (native.is_null()) native = growth({"memory/unexplained"});  // Older ones.
  return {{"floating", growth({"memory/floating"})},
          {"allocator", growth({"memory/pymalloc_free", "memory/malloc_free"})},
          {"live", growth({"memory/live"})},
          {"native", native}};
}

/// How much longer the run must be for one leg: the biggest of its needs, with
/// units turned into time by the rate of the run.
std::optional<double> HoursMore(const json& needs, const char* leg,
                                double units_per_hour) {
  std::optional<double> most;
  for (const json& need : needs) {
    if (need["leg"] != leg) continue;
    auto hours = NumberAt(need, "hours_more");
    if (auto units = NumberAt(need, "units_more");
        !hours && units && units_per_hour > 0)
      hours = *units / units_per_hour;
    if (hours) most = std::max(most.value_or(0), *hours);
  }
  return most;
}

std::string LegText(const json& service, const char* leg,
                    const std::string& unit, double units_per_hour) {
  std::string word = TextAt(service[leg], "verdict");
  std::string text = std::string(leg) + ": " + Spoken(word);
  if (word == "not_enough_data") {
    auto hours = HoursMore(service["needs"], leg, units_per_hour);
    return hours ? text + fmt::format(" (about {} more)", Duration(*hours))
                 : text;
  }
  if (std::string(leg) == "objects") {
    auto units = NumberAt(service, "objects/units");
    return units ? text + fmt::format(" (exact, {})", Units(*units, unit))
                 : text;
  }
  auto slope = NumberAt(service, "slope_bytes_per_unit/estimate");
  return slope ? text + fmt::format(" ({} per {})", Bytes(*slope), unit) : text;
}

json JudgeService(const RunFacts& run, const ServiceRun& service,
                  const VerdictOptions& options) {
  const std::string unit = UnitName(run);
  json objects = JudgeObjects(service, unit);
  json memory = JudgeMemory(
      service, run, NumberAt(objects, "explained_bytes_per_unit"), options);
  json needs = objects["needs"];
  for (const json& need : memory["needs"]) needs.push_back(need);
  objects.erase("needs");
  memory.erase("needs");

  json reasons = InvalidReasons(service);
  std::string verdict = "not_enough_data";
  if (!reasons.empty())
    verdict = "invalid";
  else if (objects["verdict"] == "leak" || memory["verdict"] == "leak")
    verdict = "leak";
  else if (objects["verdict"] == "clean" && memory["verdict"] == "clean")
    verdict = "clean";

  json problems = json::array();
  for (const SnapshotAtUnits& snapshot : service.snapshots)
    if (!snapshot.problem.empty()) problems.push_back(snapshot.problem);
  for (const RunEvent& event : service.events)
    if (event.kind == "snapshot_failed" || event.kind == "gap" ||
        event.kind == "interrupted")
      problems.push_back(Spoken(event.kind) + ": " + event.text);
  if (!run.finished)
    problems.push_back("the run was cut short; this is what it recorded");

  const SnapshotAtUnits* last = LastSnapshot(service);
  if (last && At(last->report, "gc/enabled") == false)
    problems.push_back(
        "the collector is off in this run, so every cycle made stays: growth "
        "is expected and shows that it is seen");

  std::optional<double> rest;
  auto slope = NumberAt(memory, "slope_bytes_per_unit/estimate");
  auto explained = NumberAt(objects, "explained_bytes_per_unit");
  if (slope && explained) rest = *slope - *explained;
  json result = {
      {"service", service.service},
      {"verdict", verdict},
      {"reasons", reasons},
      {"line", ""},
      {"units", OrNull(service.units.empty()
                           ? NumberAt(objects, "units")
                           : std::optional(service.units.back().value))},
      {"hours", memory["hours"]},
      {"slope_bytes_per_unit", memory["slope_bytes_per_unit"]},
      {"slope_bytes_per_hour", memory["slope_bytes_per_hour"]},
      {"margin",
       {{"bytes_per_unit", options.margin_bytes_per_unit},
        {"bytes_per_hour", options.margin_bytes_per_hour}}},
      {"smallest_visible", memory["smallest_visible"]},
      {"objects", objects},
      {"memory", memory},
      {"unexplained_bytes_per_unit", OrNull(rest)},
      {"cause", CauseOf(service)},
      {"collection", CollectionFigures(service, unit)},
      {"watched", last ? At(last->report, "watched") : json()},
      {"cycles", CyclesOf(last)},
      {"gc_enabled", last ? At(last->report, "gc/enabled") : json()},
      {"inspection", Inspection(service)},
      {"needs", needs},
      {"problems", problems}};
  for (const char* moved :
       {"slope_bytes_per_unit", "slope_bytes_per_hour", "smallest_visible"})
    result["memory"].erase(moved);

  double hours = NumberAt(memory, "hours").value_or(0);
  double units_per_hour =
      hours > 0 ? NumberAt(memory, "units").value_or(0) / hours : 0;
  result["line"] = LegText(result, "objects", unit, units_per_hour) + " · " +
                   LegText(result, "memory", unit, units_per_hour);
  if (verdict == "invalid")
    result["line"] = "invalid: " + reasons[0].get<std::string>() + " · " +
                     result["line"].get<std::string>();
  return result;
}

}  // namespace

json JudgeRun(const RunFacts& run, const VerdictOptions& options) {
  json services = json::array();
  for (const ServiceRun& service : run.services)
    services.push_back(JudgeService(run, service, options));
  json unit = {{"name", UnitName(run)}, {"source", nullptr}};
  if (std::string source = TextAt(run.description, "unit/source");
      !source.empty())
    unit["source"] = source;
  return {{"schema", "cyclescope.verdict/1"},  {"run", run.run},
          {"arm", At(run.description, "arm")}, {"unit", unit},
          {"finished", run.finished},          {"services", services}};
}

int ExitCodeOf(const json& verdict) {
  static const std::map<std::string, int> kCodes = {
      {"clean", kExitClean},
      {"cured", kExitClean},
      {"nothing_to_cure", kExitClean},
      {"leak", kExitLeak},
      {"reduced", kExitLeak},
      {"not_cured", kExitLeak},
      {"worse", kExitLeak},
      {"invalid", kExitInvalidRun},
      {"not_comparable", kExitInvalidRun},
      {"not_enough_data", kExitNotEnoughData}};
  auto code_of = [](const std::string& word) {
    auto found = kCodes.find(word);
    return found == kCodes.end() ? int{kExitNotEnoughData} : found->second;
  };
  if (std::string outcome = TextAt(verdict, "outcome"); !outcome.empty())
    return code_of(outcome);
  std::set<int> seen;
  const json& services = At(verdict, "services");
  if (services.is_array())
    for (const json& service : services)
      seen.insert(code_of(TextAt(service, "verdict")));
  for (int code : {kExitLeak, kExitInvalidRun, kExitNotEnoughData, kExitClean})
    if (seen.contains(code)) return code;
  return kExitNotEnoughData;
}

}  // namespace collector
