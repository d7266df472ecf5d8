#include "collector/verdict/growth.h"

#include <gmock/gmock.h>

#include "collector/error.h"
#include "collector/verdict/json_access.h"

namespace collector {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

json Type(const std::string& name, int count, int bytes) {
  return {{"type", name},    {"count", count}, {"bytes", bytes},
          {"pinned", count}, {"floating", 0},  {"in_flight", 0},
          {"never", 0}};
}

json Holder(const std::string& id, const std::string& type, int count,
            int bytes) {
  return {{"id", id},       {"type", type},   {"state", "pinned"},
          {"count", count}, {"bytes", bytes}, {"held_by", "module " + id}};
}

json Report(json types, json holders) {
  return {{"schema", "cyclescope.snapshot/1"},
          {"process", {{"pid", 7}, {"started", "2026-01-01T00:00:00Z"}}},
          {"taken", {{"at", "2026-01-01T01:00:00Z"}}},
          {"heap", {{"types", types}, {"holders", holders}}},
          {"cycles", json::array()},
          {"memory", {{"rss", 100}, {"malloc_used", nullptr}}},
          {"gc", {{"enabled", true}, {"frozen", 0}, {"stats", json::array()}}},
          {"limits",
           {{{"field", "memory.malloc_used"}, {"reason", "no mallinfo2"}}}}};
}

TEST(Growth, ListsTheLargestGrowthFirst) {
  json growth = Growth(
      Report({Type("a.Small", 1, 10), Type("a.Large", 1, 10)}, json::array()),
      Report({Type("a.Small", 9, 20), Type("a.Large", 2, 90),
              Type("a.New", 1, 50)},
             json::array()));
  std::vector<std::string> names;
  for (const json& entry : growth["grew"])
    names.push_back(TextAt(entry, "type"));
  EXPECT_THAT(names, ElementsAre("a.Large", "a.New", "a.Small"));
  EXPECT_TRUE(growth["shrank"].empty());
}

TEST(Growth, NamesTheHolderThatGainedNotTheLargest) {
  json growth = Growth(Report({Type("a.Item", 1000, 48000)},
                              {Holder("cache", "a.Item", 1000, 48000)}),
                       Report({Type("a.Item", 1200, 57600)},
                              {Holder("cache", "a.Item", 1000, 48000),
                               Holder("leak", "a.Item", 200, 9600)}));
  const json& entry = growth["grew"][0];
  EXPECT_EQ(entry["held_by"], "module leak");
  EXPECT_EQ(entry["held_by_count"], 200);
  EXPECT_EQ(entry["state"], "pinned");
}

TEST(Growth, ShowsTypesOfTheInterpreterByHolder) {
  json growth = Growth(Report({Type("builtins.dict", 100, 10000)},
                              {Holder("one", "builtins.dict", 10, 1000)}),
                       Report({Type("builtins.dict", 130, 12000)},
                              {Holder("one", "builtins.dict", 30, 2500)}));
  ASSERT_EQ(growth["grew"].size(), 2);
  EXPECT_EQ(growth["grew"][0]["held_by"], "module one");
  EXPECT_EQ(growth["grew"][0]["count"], 20);
  EXPECT_EQ(growth["grew"][0]["bytes"], 1500);
  EXPECT_TRUE(growth["grew"][1]["held_by"].is_null());  // What is left.
  EXPECT_EQ(growth["grew"][1]["count"], 10);
  EXPECT_EQ(growth["grew"][1]["bytes"], 500);
}

TEST(Growth, TellsWhatNoCollectionTakesFromWhatFloats) {
  json after = Type("a.Node", 30, 300);
  after["pinned"] = 0;
  after["floating"] = 30;
  after["never"] = 20;
  json growth =
      Growth(Report(json::array(), json::array()), Report({after}, {}));
  EXPECT_EQ(growth["grew"][0]["state"], "never");
}

TEST(Growth, KeepsWhatIsNotKnownWithItsReason) {
  json report = Report(json::array(), json::array());
  json growth = Growth(report, report);
  EXPECT_EQ(growth["memory"]["rss"]["growth"], 0);
  EXPECT_TRUE(growth["memory"]["malloc_used"]["growth"].is_null());
  EXPECT_EQ(growth["memory"]["malloc_used"]["reason"], "no mallinfo2");
}

TEST(Growth, ComparesOneProcessInTheOrderOfTime) {
  json before = Report(json::array(), json::array());
  json other = before;
  other["process"]["started"] = "2026-01-01T00:30:00Z";
  json earlier = before;
  earlier["taken"]["at"] = "2026-01-01T00:30:00Z";
  for (const auto& [after, word] :
       {std::pair(other, "started"), std::pair(earlier, "swap")}) {
    try {
      Growth(before, after);
      ADD_FAILURE() << word;
    } catch (const NotComparable& error) {
      EXPECT_THAT(error.what(), HasSubstr(word));
    }
  }
}

// Reports are input: no shape may throw anything but NotComparable.
TEST(Growth, LivesWithOddReports) {
  for (const char* text :
       {"{}", R"({"heap": 3, "cycles": {}, "memory": []})",
        R"({"heap": {"types": [1, {"type": 2}, {"type": "a.B", "count": "x"}],
            "holders": [null, {"id": "1"}]}, "gc": {"stats": [7]},
            "limits": [2]})"}) {
    json report = json::parse(text);
    EXPECT_EQ(Growth(report, report)["schema"], "cyclescope.diff/1") << text;
  }
}

}  // namespace
}  // namespace collector
