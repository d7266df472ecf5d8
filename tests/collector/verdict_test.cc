#include "collector/verdict/verdict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "collector/error.h"
#include "collector/verdict/collection.h"
#include "collector/verdict/json_access.h"
#include "tests/collector/synthetic_run.h"

namespace collector {
namespace {

using nlohmann::json;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

json Judge(const SyntheticPlan& plan) {
  return JudgeRun(SyntheticRun(plan))["services"][0];
}

SyntheticPlan Uncollected() {
  return {.collector_on = false, .brokers = [](int64_t units) {
            return StateCounts{.floating = units, .never = units};
          }};
}

TEST(ObjectsLeg, CallsNeverCollectedGrowthALeakInFortyUnits) {
  SyntheticPlan plan = Uncollected();
  plan.units = 40;
  plan.snapshots = 11;
  json service = Judge(plan);
  EXPECT_EQ(service["objects"]["verdict"], "leak");
  EXPECT_EQ(service["verdict"], "leak");
  const json& first = service["objects"]["growing"][0];
  EXPECT_EQ(first["signature"], kBrokerCycle);
  EXPECT_EQ(first["state"], "never");
  EXPECT_EQ(first["per_unit"], 1.0);
  EXPECT_EQ(first["leaks"], true);
}

TEST(ObjectsLeg, TakesTheEndForTheLastTenth) {
  SyntheticPlan plan = Uncollected();
  plan.units = 40;
  RunFacts run = SyntheticRun(plan);
  run.services[0].snapshots.push_back(run.services[0].snapshots.back());
  run.services[0].snapshots.back().trigger = "end";
  EXPECT_EQ(JudgeRun(run)["services"][0]["objects"]["verdict"], "leak");
}

TEST(ObjectsLeg, IsCleanWhereNothingGrows) {
  json service = Judge({.units = 300});
  EXPECT_EQ(service["objects"]["verdict"], "clean");
  EXPECT_EQ(service["verdict"], "not_enough_data");
  EXPECT_THAT(service["line"].get<std::string>(),
              StartsWith("objects: clean (exact, 300 archives) · memory: not "
                         "enough data (about "));
}

TEST(ObjectsLeg, NeedsTenSnapshotsForWhatIsPinned) {
  SyntheticPlan plan{.units = 5000, .snapshots = 9, .hours = 1};
  json clean = Judge(plan);
  EXPECT_EQ(clean["objects"]["verdict"], "not_enough_data");
  EXPECT_THAT(clean["needs"][0]["text"].get<std::string>(),
              HasSubstr("there are 9"));
  plan.brokers = [](int64_t units) { return StateCounts{.pinned = units}; };
  json growing = Judge(plan);
  EXPECT_EQ(growing["objects"]["verdict"], "not_enough_data");
  EXPECT_EQ(growing["objects"]["growing"][0]["leaks"], false);
}

TEST(ObjectsLeg, NeedsSevenSnapshotsForWhatNoCollectionTakes) {
  SyntheticPlan plan = Uncollected();
  plan.snapshots = 7;
  EXPECT_EQ(Judge(plan)["objects"]["verdict"], "leak");
  plan.snapshots = 6;
  EXPECT_EQ(Judge(plan)["objects"]["verdict"], "not_enough_data");
}

TEST(ObjectsLeg, CallsSteadyPinnedGrowthALeakOnlyOverEnoughUnits) {
  auto pinned = [](int64_t units) { return StateCounts{.pinned = units / 10}; };
  json brief = Judge({.units = 1000, .brokers = pinned});
  EXPECT_EQ(brief["objects"]["verdict"], "not_enough_data");
  EXPECT_EQ(brief["objects"]["growing"][0]["leaks"], false);
  EXPECT_EQ(brief["objects"]["growing"][0]["state"], "pinned");

  json whole = Judge({.units = 5000, .hours = 0.5, .brokers = pinned});
  EXPECT_EQ(whole["objects"]["verdict"], "leak");
  EXPECT_NEAR(whole["objects"]["growing"][0]["per_unit"].get<double>(), 0.1,
              1e-9);
  EXPECT_EQ(whole["objects"]["growing"][0]["held_by"][0],
            "module cache → list");
}

TEST(ObjectsLeg, DoesNotCallACacheThatFillsALeak) {
  json service = Judge(
      {.units = 20'000, .hours = 1, .brokers = [](int64_t u) {
         return StateCounts{.pinned = int64_t(1e4 * (1 - std::exp(-u / 9e3)))};
       }});
  EXPECT_EQ(service["objects"]["verdict"], "not_enough_data");
  EXPECT_EQ(service["objects"]["growing"][0]["leaks"], false);
}

TEST(ObjectsLeg, IgnoresGrowthTooSlowToMatter) {
  json service = Judge({.units = 20'000, .hours = 1, .brokers = [](int64_t u) {
                          return StateCounts{.pinned = u / 100};
                        }});
  EXPECT_EQ(service["objects"]["verdict"], "clean");
}

TEST(ObjectsLeg, IgnoresGrowthThatPausesInOneInterval) {
  json service = Judge({.units = 10'000, .hours = 1, .brokers = [](int64_t u) {
                          return StateCounts{.pinned = u == 6000 ? 5000 : u};
                        }});
  EXPECT_EQ(service["objects"]["verdict"], "clean");
}

TEST(ObjectsLeg, NamesTheHolderAndNotTheBuiltinItHolds) {
  RunFacts run = SyntheticRun({.units = 5000, .hours = 1});
  for (SnapshotAtUnits& snapshot : run.services[0].snapshots)
    snapshot.report["heap"]["types"] = {
        SyntheticType("dict", {.pinned = snapshot.units}),
        SyntheticType("app.Session", {.pinned = snapshot.units})};
  json growing = JudgeRun(run)["services"][0]["objects"]["growing"];
  ASSERT_EQ(growing.size(), 1);
  EXPECT_EQ(growing[0]["signature"], "app.Session");
}

TEST(ObjectsLeg, NamesABuiltinWhereNothingElseGrows) {
  RunFacts run = SyntheticRun({.units = 5000, .hours = 1});
  for (SnapshotAtUnits& snapshot : run.services[0].snapshots)
    snapshot.report["heap"]["types"] = {
        SyntheticType("dict", {.pinned = snapshot.units}),
        SyntheticType("app.Session", {.pinned = 3})};
  json objects = JudgeRun(run)["services"][0]["objects"];
  EXPECT_EQ(objects["verdict"], "leak");
  EXPECT_EQ(objects["growing"][0]["signature"], "dict");
}

TEST(ObjectsLeg, BoundsWhatTheCollectorTakesInTime) {
  json service = Judge({.units = 300, .brokers = [](int64_t units) {
                          return StateCounts{.floating = units};
                        }});
  EXPECT_EQ(service["objects"]["verdict"], "clean");
  const json& bounded = service["objects"]["bounded"][0];
  EXPECT_EQ(bounded["signature"], kBrokerCycle);
  // 49,000 survivors at 500 a collection of the middle generation: 98 of them,
  // each the twelfth of ten units; 5 and a bit have been, one more is the full
  // one. 300 float now, one more each unit.
  EXPECT_NEAR(bounded["in_units"].get<double>(),
              (98 * 12 - 5 - 100.0 / 701 + 1) / 1.2, 1e-6);
  EXPECT_NEAR(bounded["bound"].get<double>(), 1277, 1);
}

TEST(ObjectsLeg, ListsFloatingGrowthWhoseCollectionIsNotKnown) {
  RunFacts run = SyntheticRun({.units = 300, .brokers = [](int64_t units) {
                                 return StateCounts{.floating = units};
                               }});
  for (SnapshotAtUnits& snapshot : run.services[0].snapshots)
    snapshot.report["gc"]["full_collection"] = nullptr;
  json objects = JudgeRun(run)["services"][0]["objects"];
  EXPECT_EQ(objects["verdict"], "not_enough_data");
  EXPECT_EQ(objects["growing"][0]["state"], "floating");
  EXPECT_TRUE(objects["bounded"].empty());
}

TEST(MemoryLeg, IsCleanOnlyBehindItsGates) {
  SyntheticPlan plan{
      .units = 20'000, .hours = 6, .settle_minutes = 10, .noise_bytes = 1e6};
  json service = Judge(plan);
  EXPECT_EQ(service["memory"]["verdict"], "clean");
  EXPECT_EQ(service["verdict"], "clean");
  EXPECT_TRUE(service["needs"].empty()) << service["needs"];

  plan.hours = 1;
  EXPECT_EQ(Judge(plan)["memory"]["verdict"], "not_enough_data");
  plan.hours = 6;
  plan.units = 4000;
  EXPECT_EQ(Judge(plan)["memory"]["verdict"], "not_enough_data");
  plan.units = 20'000;
  plan.settle_minutes = 0;
  EXPECT_EQ(Judge(plan)["memory"]["verdict"], "not_enough_data");
}

TEST(MemoryLeg, FindsALeakAndItsSize) {
  json service = Judge({.units = 20'000,
                        .hours = 6,
                        .settle_minutes = 10,
                        .bytes_per_unit = 5000,
                        .noise_bytes = 1e6});
  EXPECT_EQ(service["memory"]["verdict"], "leak");
  EXPECT_NEAR(service["slope_bytes_per_unit"]["estimate"].get<double>(), 5000,
              50);
  EXPECT_LT(service["slope_bytes_per_unit"]["lower"], 5000);
  EXPECT_GT(service["slope_bytes_per_unit"]["upper"], 5000);
  EXPECT_GT(service["smallest_visible"]["bytes_per_unit"], 1024);
}

TEST(MemoryLeg, SaysLeakEarlyOnlyWhereObjectsExplainIt) {
  SyntheticPlan plan = Uncollected();
  plan.bytes_per_unit = 100'000;
  plan.noise_bytes = 1000;
  // Brokers of 1000 bytes explain one hundredth.
  json unexplained = Judge(plan);
  EXPECT_EQ(unexplained["memory"]["verdict"], "not_enough_data");
  RunFacts run = SyntheticRun(plan);
  for (SnapshotAtUnits& snapshot : run.services[0].snapshots) {
    json& heap = snapshot.report["heap"];
    heap["floating_bytes"] = 80'000 * snapshot.units;
    heap["bytes"] = 60'000'000 + 80'000 * snapshot.units;
  }
  json explained = JudgeRun(run)["services"][0];
  EXPECT_EQ(explained["memory"]["verdict"], "leak")
      << explained["memory"]["reason"];
  EXPECT_TRUE(explained["needs"].empty());
  EXPECT_NEAR(explained["objects"]["explained_bytes_per_unit"].get<double>(),
              80'000, 1);
  EXPECT_NEAR(explained["unexplained_bytes_per_unit"].get<double>(), 20'000,
              2'000);
}

TEST(MemoryLeg, FindsTheLoadWithoutBeingTold) {
  SyntheticPlan plan{
      .units = 20'000, .hours = 6, .settle_minutes = 10, .noise_bytes = 1e6};
  RunFacts told = SyntheticRun(plan), untold = told;
  untold.services[0].events.clear();
  json a = JudgeRun(told)["services"][0], b = JudgeRun(untold)["services"][0];
  EXPECT_EQ(b["memory"]["verdict"], "clean") << b["needs"];
  EXPECT_NEAR(a["hours"].get<double>(), b["hours"].get<double>(), 0.01);
}

TEST(MemoryLeg, IsNullWithAReasonWithoutSamples) {
  for (size_t kept : {0, 1, 5}) {
    RunFacts run = SyntheticRun({});
    run.services[0].anon.resize(kept);
    json service = JudgeRun(run)["services"][0];
    EXPECT_TRUE(service["slope_bytes_per_unit"].is_null());
    EXPECT_TRUE(service["smallest_visible"]["bytes_per_unit"].is_null());
    EXPECT_EQ(service["memory"]["verdict"], "not_enough_data");
    EXPECT_THAT(service["memory"]["reason"].get<std::string>(),
                HasSubstr("a slope needs 8 memory samples"));
  }
}

TEST(JudgeRun, CallsARunWithARestartInvalid) {
  RunFacts run = SyntheticRun(Uncollected());
  run.services[0].events.push_back({500, "restart", "pid 4711 became 4890"});
  json verdict = JudgeRun(run);
  EXPECT_EQ(verdict["services"][0]["verdict"], "invalid");
  EXPECT_EQ(ExitCodeOf(verdict), kExitInvalidRun);
}

TEST(JudgeRun, CallsARunOfAnotherProcessOrCodeInvalid) {
  RunFacts run = SyntheticRun({});
  run.services[0].snapshots[5].report["process"]["pid"] = 99;
  EXPECT_EQ(JudgeRun(run)["services"][0]["verdict"], "invalid");
  run = SyntheticRun({});
  run.services[0].snapshots[5].report["code"]["functions"][0]["hash"] = "0";
  EXPECT_EQ(JudgeRun(run)["services"][0]["verdict"], "invalid");
}

TEST(JudgeRun, HasEveryFieldOfItsSchema) {
  json verdict = JudgeRun(SyntheticRun({}));
  for (const char* field : {"schema", "run", "unit", "services"})
    EXPECT_TRUE(verdict.contains(field)) << field;
  for (const char* field :
       {"service", "verdict", "slope_bytes_per_unit", "slope_bytes_per_hour",
        "objects", "memory", "margin", "smallest_visible", "units", "hours",
        "cause", "needs"})
    EXPECT_TRUE(verdict["services"][0].contains(field)) << field;
}

TEST(JudgeRun, SurvivesSnapshotsOfAnyShape) {
  for (const json& odd :
       {json(nullptr), json::object(), json::array(), json("text"),
        json({{"heap", 3}, {"cycles", {1, nullptr, "x"}}, {"gc", "off"}}),
        json({{"heap", {{"types", {{{"type", 5}}}}}},
              {"cycles", {{{"signature", nullptr}, {"count", "many"}}}},
              {"gc", {{"stats", {1, 2}}}},
              {"code", {{"functions", {{{"function", 1}}}}}},
              {"watched", {{{"type", "T"}, {"alive", nullptr}}}}})}) {
    SCOPED_TRACE(odd.dump());
    RunFacts run = SyntheticRun({});
    for (SnapshotAtUnits& snapshot : run.services[0].snapshots)
      snapshot.report = odd;
    json verdict = JudgeRun(run);
    EXPECT_NE(verdict["services"][0]["objects"]["verdict"], "leak");
    EXPECT_FALSE(RenderVerdict(verdict).empty());
    json comparison = CompareRuns(run, SyntheticRun({}));
    EXPECT_EQ(comparison["outcome"], "not_comparable");
    EXPECT_FALSE(RenderCompare(comparison).empty());
  }
}

TEST(ExitCodeOf, TakesTheFirstThatOccurs) {
  auto services = [](std::vector<std::string> words) {
    json verdict = {{"services", json::array()}};
    for (const std::string& word : words)
      verdict["services"].push_back({{"verdict", word}});
    return ExitCodeOf(verdict);
  };
  EXPECT_EQ(services({"clean", "invalid", "leak", "not_enough_data"}), 10);
  EXPECT_EQ(services({"clean", "invalid", "not_enough_data"}), 12);
  EXPECT_EQ(services({"clean", "not_enough_data"}), 11);
  EXPECT_EQ(services({"clean", "clean"}), 0);
  EXPECT_EQ(services({}), 11);
  EXPECT_EQ(ExitCodeOf({{"outcome", "cured"}}), 0);
  EXPECT_EQ(ExitCodeOf({{"outcome", "reduced"}}), 10);
  EXPECT_EQ(ExitCodeOf({{"outcome", "not_comparable"}}), 12);
}

TEST(CollectionSentence, SaysNoWhereTheCollectorTakesThem) {
  RunFacts run = SyntheticRun({.units = 300, .brokers = [](int64_t units) {
                                 return StateCounts{.floating = units};
                               }});
  std::string sentence = CollectionSentence(run.services[0], "archive");
  EXPECT_THAT(sentence, StartsWith("No: in 300 archives the service made 6,300 "
                                   "objects that only the collector can free, "
                                   "the collector took 6,000, 0 cycles are "
                                   "pinned, 300 objects are floating"));
  EXPECT_THAT(sentence,
              HasSubstr("next full collection in about 977 archives, 4 min at "
                        "this pace."));
}

TEST(CollectionSentence, SaysHowLongTheLastOneTook) {
  RunFacts run = SyntheticRun({});
  run.services[0].snapshots.back().report["gc"]["full_collection"]["last_ms"] =
      612.4;
  EXPECT_THAT(CollectionSentence(run.services[0]),
              EndsWith(" (the last one took 612 ms)."));
  EXPECT_NEAR(
      CollectionFigures(run.services[0], "archive")["full_collection_ms"]
          .get<double>(),
      612.4, 1e-9);
}

TEST(CollectionSentence, CountsTimeWhereThereAreNoUnits) {
  RunFacts run = SyntheticRun({});
  for (SnapshotAtUnits& snapshot : run.services[0].snapshots)
    snapshot.units = 0;
  EXPECT_THAT(CollectionSentence(run.services[0]),
              HasSubstr("next full collection in about 6 min at this pace"));
}

TEST(CollectionSentence, TakesTheUsualDistanceWhereTheProgramCollects) {
  RunFacts run = SyntheticRun({.units = 200, .brokers = [](int64_t) {
                                 return StateCounts{.floating = 5};
                               }});
  for (SnapshotAtUnits& snapshot : run.services[0].snapshots) {
    json& gc = snapshot.report["gc"];
    gc["stats"][2]["collections"] = 2 + snapshot.units / 10;
    gc["counts"] = {0, 0, 0};
    gc["long_lived_pending"] = 0;
  }
  std::string sentence = CollectionSentence(run.services[0], "archive");
  EXPECT_THAT(sentence, HasSubstr("at most 4.88 KiB in any snapshot"));
  EXPECT_THAT(sentence, HasSubstr("next full collection in about 10 archives"));
}

TEST(CollectionSentence, SaysThatAnOffCollectorTakesNothing) {
  RunFacts run = SyntheticRun(Uncollected());
  EXPECT_THAT(CollectionSentence(run.services[0], "archive"),
              HasSubstr("next full collection: never"));
  run = SyntheticRun({});
  run.services[0].snapshots.back().report["gc"]["thresholds"][0] = 0;
  EXPECT_THAT(CollectionSentence(run.services[0], "archive"),
              HasSubstr("next full collection: never"));
}

TEST(CollectionSentence, SaysWhereThereAreNone) {
  RunFacts run = SyntheticRun({.collector_on = false});
  EXPECT_THAT(CollectionSentence(run.services[0]),
              StartsWith("There are none"));
}

TEST(CollectionSentence, DoesNotMindPinnedCyclesThatStayTheSame) {
  RunFacts run = SyntheticRun({.brokers = [](int64_t) {
    return StateCounts{.pinned = 1, .floating = 3};
  }});
  EXPECT_THAT(CollectionSentence(run.services[0]), StartsWith("No: "));
  EXPECT_THAT(CollectionSentence(run.services[0]),
              HasSubstr("1 cycle is pinned"));
}

TEST(CollectionSentence, CountsOnlyCyclesThroughWatchedTypes) {
  RunFacts run = SyntheticRun(
      {.brokers = [](int64_t) { return StateCounts{.floating = 3}; }});
  for (SnapshotAtUnits& snapshot : run.services[0].snapshots)
    snapshot.report["cycles"].push_back(
        SyntheticCycle("type → tuple → type", {.pinned = 4000}));
  EXPECT_THAT(CollectionSentence(run.services[0]),
              HasSubstr("0 cycles are pinned"));
}

TEST(CollectionSentence, NamesTheHolderOfPinnedCycles) {
  RunFacts run = SyntheticRun(
      {.brokers = [](int64_t u) { return StateCounts{.pinned = u}; }});
  EXPECT_THAT(CollectionSentence(run.services[0]),
              HasSubstr("200 cycles are pinned (held by module cache → list)"));
}

TEST(CollectionSentence, IsHonestWithoutFigures) {
  RunFacts run = SyntheticRun({});
  for (SnapshotAtUnits& snapshot : run.services[0].snapshots)
    snapshot.report["gc"] = nullptr;
  EXPECT_THAT(CollectionSentence(run.services[0]),
              HasSubstr("an unknown number"));
  run.services[0].snapshots.clear();
  EXPECT_THAT(CollectionSentence(run.services[0]),
              HasSubstr("cannot be known"));
}

TEST(CompareRuns, RefusesRunsWithTheSameCode) {
  json comparison =
      CompareRuns(SyntheticRun(Uncollected()), SyntheticRun(Uncollected()));
  EXPECT_EQ(comparison["outcome"], "not_comparable");
  EXPECT_THAT(comparison["reason"].get<std::string>(),
              HasSubstr("the patch was not loaded"));
  EXPECT_EQ(ExitCodeOf(comparison), 12);
}

SyntheticPlan Patched() {
  return {.collector_on = false, .code_hash = "beef", .arm = "dr-py-patch"};
}

TEST(CompareRuns, SaysCuredAndNamesWhatChanged) {
  json comparison =
      CompareRuns(SyntheticRun(Uncollected()), SyntheticRun(Patched()));
  EXPECT_EQ(comparison["outcome"], "cured");
  EXPECT_EQ(ExitCodeOf(comparison), 0);
  ASSERT_EQ(comparison["functions_changed"].size(), 1);
  EXPECT_EQ(comparison["functions_changed"][0]["function"],
            "insights.core.dr.run_components");
  ASSERT_EQ(comparison["objects"]["removed"].size(), 1);
  EXPECT_EQ(comparison["objects"]["removed"][0]["per_unit_before"], 1.0);
  EXPECT_EQ(comparison["objects"]["removed"][0]["per_unit_after"], 0.0);
  EXPECT_THAT(RenderCompare(comparison),
              StartsWith("dr-py-patch against before: cured"));
}

TEST(CompareRuns, TellsReducedNotCuredAndWorseApart) {
  auto outcome = [](double rate) {
    SyntheticPlan plan = Patched();
    plan.brokers = [rate](int64_t units) {
      auto count = static_cast<int64_t>(rate * static_cast<double>(units));
      return StateCounts{.floating = count, .never = count};
    };
    json result = CompareRuns(SyntheticRun(Uncollected()), SyntheticRun(plan));
    return result["outcome"].get<std::string>();
  };
  EXPECT_EQ(outcome(0.5), "reduced");
  EXPECT_EQ(outcome(1), "not_cured");
  EXPECT_EQ(outcome(2), "worse");
}

TEST(CompareRuns, CallsFewerCyclesThroughTheSameObjectsNotCured) {
  RunFacts base = SyntheticRun(Uncollected());
  for (SnapshotAtUnits& snapshot : base.services[0].snapshots)
    snapshot.report["cycles"].push_back(
        SyntheticCycle("Broker → list → Broker",
                       {.floating = snapshot.units, .never = snapshot.units}));
  SyntheticPlan plan = Uncollected();
  plan.code_hash = "beef";
  json comparison = CompareRuns(base, SyntheticRun(plan));
  EXPECT_EQ(comparison["outcome"], "not_cured");
  EXPECT_EQ(comparison["objects"]["removed"][0]["signature"],
            "Broker → list → Broker");
}

TEST(CompareRuns, AllowsShortRunsTheUnitThatWasInWorkAtASnapshot) {
  SyntheticPlan plan = Uncollected();
  plan.units = 15;
  RunFacts base = SyntheticRun(plan);
  for (SnapshotAtUnits& snapshot : base.services[0].snapshots)
    snapshot.report["cycles"].push_back(
        SyntheticCycle("Broker → list → Broker",
                       {.floating = snapshot.units, .never = snapshot.units}));
  plan.code_hash = "beef";
  plan.brokers = [](int64_t units) {
    // One more at the start, one less at the end.
    int64_t count = units < 5 ? units + 1 : units < 15 ? units : 14;
    return StateCounts{.floating = count, .never = count};
  };
  EXPECT_EQ(CompareRuns(base, SyntheticRun(plan))["outcome"], "not_cured");
}

TEST(CompareRuns, CallsWhatIsSeenOnceAtAMomentTheSame) {
  RunFacts base = SyntheticRun(Uncollected());
  base.services[0].snapshots[4].report["cycles"].push_back(
      SyntheticCycle("Reader → method → Reader", {.in_flight = 1}));
  json comparison = CompareRuns(base, SyntheticRun(Patched()));
  ASSERT_EQ(comparison["objects"]["removed"].size(), 1);
  const json& entry = comparison["objects"]["remaining"][0];
  EXPECT_EQ(entry["signature"], "Reader → method → Reader");
  EXPECT_EQ(entry["change"], "same");
  EXPECT_TRUE(entry["per_unit_before"].is_null());
  EXPECT_FALSE(entry["reason"].is_null());
}

TEST(CompareRuns, HasNothingToCureInACleanBase) {
  SyntheticPlan plan{
      .units = 20'000, .hours = 6, .settle_minutes = 10, .noise_bytes = 1e6};
  RunFacts base = SyntheticRun(plan);
  plan.code_hash = "beef";
  EXPECT_EQ(CompareRuns(base, SyntheticRun(plan))["outcome"],
            "nothing_to_cure");
}

TEST(CompareRuns, RefusesOtherPlansAndOtherCollectors) {
  SyntheticPlan plan = Patched();
  plan.units = 100;
  RunFacts base = SyntheticRun(Uncollected());
  EXPECT_THAT(
      CompareRuns(base, SyntheticRun(plan))["reason"].get<std::string>(),
      HasSubstr("`plan/units`"));
  plan = Patched();
  plan.collector_on = true;
  EXPECT_THAT(
      CompareRuns(base, SyntheticRun(plan))["reason"].get<std::string>(),
      HasSubstr("collector is on in one run"));
}

TEST(CompareRuns, NamesPackagesThatDiffer) {
  RunFacts patched = SyntheticRun(Patched());
  for (SnapshotAtUnits& snapshot : patched.services[0].snapshots)
    snapshot.report["code"]["packages"]["insights-core"] = "3.8.0";
  json comparison = CompareRuns(SyntheticRun(Uncollected()), patched);
  EXPECT_EQ(comparison["packages_changed"][0]["after"], "3.8.0");
  EXPECT_THAT(RenderCompare(comparison),
              HasSubstr("insights-core 3.7.2 → 3.8.0"));
}

TEST(RenderVerdict, NamesBothLegsInTheFirstLineOfAService) {
  std::string text = RenderVerdict(JudgeRun(SyntheticRun(Uncollected())));
  EXPECT_THAT(text, StartsWith("rules-processing: leak\n  objects: leak (exact,"
                               " 200 archives) · memory: not enough data"));
  EXPECT_THAT(text, HasSubstr("insights/core/dr.py:1034 run_components"));
}

}  // namespace
}  // namespace collector
