// Did the patch cure it? "No longer significant" proves nothing, so: first
// whether the two runs can be compared at all (other code, same work), then
// what became of each signature, then an outcome decided only by the legs on
// which the base leaks. The worse leg counts, and the worst service.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "collector/verdict/json_access.h"
#include "collector/verdict/signature_changes.h"
#include "collector/verdict/statistics.h"
#include "collector/verdict/verdict.h"
#include "collector/verdict/words.h"

namespace collector {
namespace {

using nlohmann::json;

/// Unit counts this close are equal.
constexpr double kSameUnitsShare = 0.02;

/// An outcome with its reason; the later in the list, the worse.
struct Outcome {
  std::string word;
  std::string reason;
};
int Badness(const std::string& word) {
  static const std::vector<std::string> kOrder = {
      "nothing_to_cure", "cured", "not_enough_data", "reduced",
      "not_cured",       "worse", "not_comparable"};
  return static_cast<int>(std::find(kOrder.begin(), kOrder.end(), word) -
                          kOrder.begin());
}
Outcome Worse(const Outcome& a, const Outcome& b) {
  return Badness(b.word) > Badness(a.word) ? b : a;
}

const json& LastReport(const ServiceRun& service) {
  static const json kNull;
  for (auto snapshot = service.snapshots.rbegin();
       snapshot != service.snapshots.rend(); ++snapshot)
    if (snapshot->report.is_object()) return snapshot->report;
  return kNull;
}

/// The hashes of every function; a name can stand for several (lambdas,
/// property setters).
std::map<std::string, std::multiset<std::string>> CodeOf(const json& report) {
  std::map<std::string, std::multiset<std::string>> code;
  const json& functions = At(report, "code/functions");
  if (functions.is_array())
    for (const json& function : functions)
      code[TextAt(function, "function")].insert(TextAt(function, "hash"));
  return code;
}

json FunctionsChanged(const json& base, const json& patched) {
  auto before = CodeOf(base), after = CodeOf(patched);
  json changed = json::array();
  for (const auto& [name, hashes] : before) {
    auto found = after.find(name);
    if (found == after.end())
      changed.push_back({{"function", name}, {"change", "removed"}});
    else if (found->second != hashes)
      changed.push_back({{"function", name}, {"change", "changed"}});
  }
  for (const auto& [name, hashes] : after)
    if (!before.contains(name))
      changed.push_back({{"function", name}, {"change", "added"}});
  return changed;
}

json PackagesChanged(const json& base, const json& patched) {
  json changed = json::array();
  const json& before = At(base, "code/packages");
  const json& after = At(patched, "code/packages");
  std::set<std::string> names;
  for (const json* packages : {&before, &after})
    if (packages->is_object())
      for (const auto& [name, version] : packages->items()) names.insert(name);
  for (const std::string& name : names) {
    const json& from =
        before.is_object() && before.contains(name) ? before[name] : json();
    const json& to =
        after.is_object() && after.contains(name) ? after[name] : json();
    if (from != to)
      changed.push_back({{"package", name}, {"before", from}, {"after", to}});
  }
  return changed;
}

/// Why the two services cannot be compared; empty if they can.
std::string Incomparable(const RunFacts& base_run, const ServiceRun& base,
                         const json& base_verdict, const RunFacts& patched_run,
                         const ServiceRun& patched,
                         const json& patched_verdict) {
  for (const json* verdict : {&base_verdict, &patched_verdict})
    if ((*verdict)["verdict"] == "invalid")
      return fmt::format("the {} run is invalid: {}",
                         verdict == &base_verdict ? "base" : "patched",
                         (*verdict)["reasons"][0].get<std::string>());
  for (const char* field : {"plan/seed", "plan/units", "unit/name"}) {
    const json& before = At(base_run.description, field);
    const json& after = At(patched_run.description, field);
    if (before != after)
      return fmt::format("`{}` of the runs differs: {} and {}", field,
                         before.dump(), after.dump());
  }
  double before = NumberAt(base_verdict, "units").value_or(0);
  double after = NumberAt(patched_verdict, "units").value_or(0);
  if (std::abs(before - after) > kSameUnitsShare * std::max(before, after))
    return fmt::format(
        "the runs processed different numbers of units: {} and "
        "{}",
        Count(before), Count(after));
  const json& base_report = LastReport(base);
  const json& patched_report = LastReport(patched);
  if (base_report.is_null() || patched_report.is_null())
    return fmt::format("the {} run has no readable snapshot",
                       base_report.is_null() ? "base" : "patched");
  if (At(base_report, "gc/enabled") != At(patched_report, "gc/enabled"))
    return "the cyclic collector is on in one run and off in the other";
  for (const json* report : {&base_report, &patched_report})
    if (!At(*report, "code/functions").is_array() ||
        At(*report, "code/functions").empty())
      return fmt::format("the {} run does not say which code was loaded",
                         report == &base_report ? "base" : "patched");
  if (FunctionsChanged(base_report, patched_report).empty())
    return "the patch was not loaded: every watched function is the same in "
           "both runs";
  return {};
}

using Key = std::pair<std::string, std::string>;  // Signature, state.

/// Growth per unit of everything on which a leg leaks.
std::map<Key, double> Leaking(const json& service) {
  std::map<Key, double> leaking;
  for (const json& entry : service["objects"]["growing"])
    if (entry["leaks"] == true)
      leaking[{TextAt(entry, "signature"), TextAt(entry, "state")}] =
          NumberAt(entry, "per_unit").value_or(0);
  return leaking;
}

Outcome ObjectsOutcome(const json& base, const json& patched) {
  std::string before = TextAt(base, "objects/verdict");
  std::string after = TextAt(patched, "objects/verdict");
  if (before == "clean")
    return {"nothing_to_cure", "no objects leak in the base"};
  if (before != "leak")
    return {"not_enough_data", "whether objects leak in the base is not known"};
  if (after == "clean") return {"cured", "nothing grows any more"};

  auto leaks_before = Leaking(base), leaks_after = Leaking(patched);
  double units = NumberAt(patched, "objects/units").value_or(0);
  auto differs = [units](double from, double to) {
    double tolerance = std::max(units > 0 ? kSameObjects / units : 0,
                                kSameShare * std::max(from, to));
    return std::abs(from - to) > tolerance;
  };
  size_t gone = 0, fewer = 0, same = 0, more = 0, added = 0;
  for (const auto& [key, rate] : leaks_before) {
    auto found = leaks_after.find(key);
    if (found == leaks_after.end())
      ++gone;
    else if (!differs(rate, found->second))
      ++same;
    else
      ++(found->second < rate ? fewer : more);
  }
  for (const auto& [key, rate] : leaks_after)
    added += !leaks_before.contains(key);
  if (after != "leak")
    return {"not_enough_data",
            added == 0 && gone == leaks_before.size()
                ? "all that leaks in the base is gone, but whether the patched "
                  "run leaks elsewhere is not known yet"
                : "whether objects leak in the patched run is not known"};

  double from = NumberAt(base, "objects/explained_bytes_per_unit").value_or(0);
  double to = NumberAt(patched, "objects/explained_bytes_per_unit").value_or(0);
  std::string reason = fmt::format(
      "of {} leaking types and signatures {} are gone, {} fewer, {} as before, "
      "{} more, and {} are new; they hold {} per unit before and {} after",
      leaks_before.size(), gone, fewer, same, more, added, Bytes(from),
      Bytes(to));
  bool better = gone + fewer > 0, worse = more + added > 0;
  if (better && worse) return {to < from ? "reduced" : "worse", reason};
  // Fewer cycles through objects that leak all the same cure nothing. A
  // snapshot catches a unit more or less in work at either end, so that short
  // runs of one and the same code differ by two units' share.
  double share = std::max(kSameShare, units > 0 ? kSameObjects / units : 0);
  if (better && !(from > 0 && to > (1 - share) * from))
    return {"reduced", reason};
  if (worse) return {"worse", reason};
  return {"not_cured", reason};
}

/// The difference of the slopes per unit, patched minus base, with one-sided
/// bounds at 95 %; null if one is not known.
json SlopeDifference(const json& base, const json& patched) {
  auto from = NumberAt(base, "slope_bytes_per_unit/estimate");
  auto to = NumberAt(patched, "slope_bytes_per_unit/estimate");
  auto from_error = NumberAt(base, "slope_bytes_per_unit/standard_error");
  auto to_error = NumberAt(patched, "slope_bytes_per_unit/standard_error");
  if (!from || !to || !from_error || !to_error) return nullptr;
  double reach = StudentQuantile(0.95, 2 * (static_cast<int>(kBlocks) - 2)) *
                 std::hypot(*from_error, *to_error);
  return {{"estimate", *to - *from},
          {"lower", *to - *from - reach},
          {"upper", *to - *from + reach}};
}

Outcome MemoryOutcome(const json& base, const json& patched,
                      const json& difference) {
  std::string before = TextAt(base, "memory/verdict");
  std::string after = TextAt(patched, "memory/verdict");
  if (before == "clean")
    return {"nothing_to_cure", "memory does not leak in the base"};
  if (before != "leak")
    return {"not_enough_data", "whether memory leaks in the base is not known"};
  bool lower = NumberAt(difference, "upper").value_or(0) < 0;
  bool higher = NumberAt(difference, "lower").value_or(0) > 0;
  if (after == "clean" && lower)
    return {"cured", "memory grew in the base and stays below the margin now"};
  if (after == "leak") {
    if (lower) return {"reduced", "memory grows by less, but still leaks"};
    if (higher) return {"worse", "memory grows by more than before"};
    return {"not_cured", "memory grows as before"};
  }
  return {"not_enough_data",
          lower ? "memory grows by less, but whether below the margin is not "
                  "known yet"
                : "whether memory leaks in the patched run is not known"};
}

/// Decided by the legs on which the base leaks, the worse one counts.
Outcome ServiceOutcome(const json& base, const Outcome& objects,
                       const Outcome& memory) {
  bool objects_leak = base["objects"]["verdict"] == "leak";
  bool memory_leaks = base["memory"]["verdict"] == "leak";
  if (objects_leak && memory_leaks) return Worse(objects, memory);
  if (objects_leak) return objects;
  if (memory_leaks) return memory;
  if (base["verdict"] == "clean")
    return {"nothing_to_cure", "the base does not leak"};
  return {"not_enough_data", "whether the base leaks is not known yet"};
}

const json* FindService(const json& verdict, const std::string& name) {
  for (const json& service : verdict["services"])
    if (service["service"] == name) return &service;
  return nullptr;
}

}  // namespace

json CompareRuns(const RunFacts& base, const RunFacts& patched,
                 const VerdictOptions& options) {
  const json base_verdict = JudgeRun(base, options);
  json result = JudgeRun(patched, options);
  result["base_run"] = base.run;
  result["base_arm"] = At(base.description, "arm");
  result["functions_changed"] = json::array();
  result["packages_changed"] = json::array();
  result["objects"] = {{"outcome", nullptr},
                       {"removed", json::array()},
                       {"remaining", json::array()},
                       {"new", json::array()}};
  Outcome total{"nothing_to_cure", "the runs have no service"};
  Outcome objects_total = total;
  if (patched.services.empty())
    total =
        objects_total = {"not_comparable", "the patched run has no service"};

  for (size_t i = 0; i < patched.services.size(); ++i) {
    const ServiceRun& after = patched.services[i];
    json& judged = result["services"][i];
    auto before = std::find_if(
        base.services.begin(), base.services.end(),
        [&](const ServiceRun& run) { return run.service == after.service; });
    if (before == base.services.end()) {
      total = objects_total = {"not_comparable",
                               "the base has no service " + after.service};
      judged["outcome"] = total.word;
      continue;
    }
    const json& base_judged = *FindService(base_verdict, after.service);
    const json& base_report = LastReport(*before);
    const json& patched_report = LastReport(after);
    json functions = FunctionsChanged(base_report, patched_report);
    for (json& function : functions) {
      function["service"] = after.service;
      result["functions_changed"].push_back(function);
    }
    for (json& package : PackagesChanged(base_report, patched_report))
      if (std::find(result["packages_changed"].begin(),
                    result["packages_changed"].end(),
                    package) == result["packages_changed"].end())
        result["packages_changed"].push_back(package);

    json difference = SlopeDifference(base_judged, judged);
    std::string reason =
        Incomparable(base, *before, base_judged, patched, after, judged);
    Outcome objects{"not_comparable", reason}, outcome = objects;
    if (reason.empty()) {
      objects = ObjectsOutcome(base_judged, judged);
      outcome = ServiceOutcome(base_judged, objects,
                               MemoryOutcome(base_judged, judged, difference));
    }
    json changes = SignatureChanges(*before, after);
    for (auto& [list, entries] : changes.items())
      for (json& entry : entries) {
        entry["service"] = after.service;
        result["objects"][list].push_back(entry);
      }
    judged["base"] = base_judged;
    judged["outcome"] = outcome.word;
    judged["reason"] = outcome.reason;
    judged["objects_outcome"] = objects.word;
    judged["objects_reason"] = objects.reason;
    judged["slope_difference_bytes_per_unit"] = difference;
    total = i == 0 ? outcome : Worse(total, outcome);
    objects_total = i == 0 ? objects : Worse(objects_total, objects);
  }
  result["outcome"] = total.word;
  result["reason"] = total.reason;
  result["objects"]["outcome"] = objects_total.word;
  result["objects"]["reason"] = objects_total.reason;
  return result;
}

}  // namespace collector
