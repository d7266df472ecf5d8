#include "collector/report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "collector/report/chart.h"
#include "collector/report/html.h"
#include "collector/verdict/verdict.h"
#include "tests/collector/synthetic_run.h"

namespace collector {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

ReportArm Arm(RunFacts run) {
  json verdict = JudgeRun(run);
  return {"before", std::move(run), std::move(verdict)};
}

SyntheticPlan Uncollected() {
  return {.collector_on = false, .brokers = [](int64_t units) {
            return StateCounts{.floating = units, .never = units};
          }};
}

/// Names of the elements that are opened and not closed, or closed and not
/// open; void elements and shapes that close themselves apart.
std::vector<std::string> Unbalanced(const std::string& html) {
  std::vector<std::string> open;
  for (size_t at = html.find('<'); at != std::string::npos;
       at = html.find('<', at + 1)) {
    size_t end = html.find('>', at);
    std::string tag = html.substr(at + 1, end - at - 1);
    bool closes = tag[0] == '/';
    std::string name =
        tag.substr(closes, tag.find_first_of(" \n/", 1) - closes);
    if (tag.back() == '/' || name == "meta" || name == "!doctype") continue;
    if (!closes) {
      open.push_back(name);
    } else if (open.empty() || open.back() != name) {
      return {"closed: " + name};
    } else {
      open.pop_back();
    }
  }
  return open;
}

TEST(HtmlReport, IsOneWholePageWithoutNetworkOrScript) {
  RunFacts base = SyntheticRun(Uncollected());
  SyntheticPlan plan{.collector_on = false, .code_hash = "beef"};
  RunFacts patched = SyntheticRun(plan);
  json comparisons = {CompareRuns(base, patched)};
  std::string html = HtmlReport({Arm(base), Arm(patched)}, comparisons);
  EXPECT_THAT(html, HasSubstr("default-src 'none'"));
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, Not(HasSubstr("http://")));
  EXPECT_THAT(html, Not(HasSubstr("https://")));
  EXPECT_THAT(html, Not(HasSubstr("src=")));
  EXPECT_THAT(Unbalanced(html), ElementsAre());
  EXPECT_THAT(html, HasSubstr("insights.core.dr.run_components"));
  EXPECT_THAT(html, HasSubstr("cured"));
  EXPECT_LT(html.find("Verdict"), html.find("<svg viewBox"));
}

TEST(HtmlReport, HasTheSameBytesForTheSameRun) {
  EXPECT_EQ(HtmlReport({Arm(SyntheticRun(Uncollected()))}),
            HtmlReport({Arm(SyntheticRun(Uncollected()))}));
}

TEST(HtmlReport, EscapesWhatComesFromTheRun) {
  const std::string evil = "<b onclick=\"x\">&'\x01";
  RunFacts run = SyntheticRun(Uncollected());
  run.run = evil;
  run.description["arm"] = evil;
  run.description["command"] = evil;
  run.description["host"] = {{"kernel", evil}};
  run.services[0].service = evil;
  run.services[0].memory_source = evil;
  run.services[0].events.push_back({1, "gap", evil});
  for (SnapshotAtUnits& snapshot : run.services[0].snapshots) {
    json& report = snapshot.report;
    snapshot.trigger = evil;
    report["cycles"][0] = SyntheticCycle(evil, {.pinned = 2});
    report["cycles"][0]["held_by"] = {evil};
    report["cycles"][0]["sites"][0]["file"] = evil;
    report["watched"][0] = {{"type", evil}, {"example", {{"path", {evil}}}}};
    report["heap"]["types"][0]["type"] = evil;
    report["limits"][0] = {{"field", evil}, {"reason", evil}};
    report["code"]["packages"][evil] = evil;
    report["process"]["python"] = evil;
  }
  json verdict = JudgeRun(run);
  std::string html = HtmlReport({{"", run, verdict}}, {CompareRuns(run, run)});
  EXPECT_THAT(html, Not(HasSubstr("<b onclick")));
  EXPECT_THAT(html, HasSubstr("&lt;b onclick=&quot;x&quot;&gt;&amp;&#39;"));
  EXPECT_EQ(html.find('\x01'), std::string::npos);
  EXPECT_THAT(Unbalanced(html), ElementsAre());
}

TEST(HtmlReport, IsWholeForRunsThatLackAnything) {
  std::vector<RunFacts> runs;
  runs.push_back({});
  runs.push_back(SyntheticRun({.snapshots = 0}));
  for (size_t samples : {0, 1, 2}) {
    runs.push_back(SyntheticRun(Uncollected()));
    runs.back().services[0].anon.resize(samples);
    runs.push_back(runs.back());
    runs.back().services[0].units.clear();
  }
  runs.push_back(SyntheticRun({.snapshots = 1}));
  runs.push_back(SyntheticRun(Uncollected()));
  for (SnapshotAtUnits& snapshot : runs.back().services[0].snapshots) {
    snapshot.report = nullptr;
    snapshot.problem = "cannot read snapshots/rules-0001.json: gone";
  }
  runs.push_back(SyntheticRun(Uncollected()));
  for (SnapshotAtUnits& snapshot : runs.back().services[0].snapshots)
    for (auto& [key, value] : snapshot.report.items())
      if (key != "schema") value = nullptr;
  for (size_t i = 0; i < runs.size(); ++i) {
    SCOPED_TRACE(i);
    json comparisons = {CompareRuns(runs[i], runs.back()),
                        CompareRuns(runs.back(), runs[i])};
    std::string html = HtmlReport({Arm(runs[i])}, comparisons);
    EXPECT_THAT(Unbalanced(html), ElementsAre());
    EXPECT_THAT(html, Not(HasSubstr("nan")));
    EXPECT_THAT(html, Not(HasSubstr("inf\"")));
  }
  EXPECT_THAT(HtmlReport({}), HasSubstr("There is no run in this report."));
}

TEST(HtmlReport, StaysSmallForLongRuns) {
  RunFacts run = SyntheticRun({.units = 100'000, .hours = 24});
  EXPECT_LT(HtmlReport({Arm(std::move(run))}).size(), 200'000);
}

TEST(NiceTicks, AreRoundAndCoverTheRange) {
  EXPECT_THAT(NiceTicks(0, 100, 5), ElementsAre(0, 20, 40, 60, 80, 100));
  EXPECT_THAT(NiceTicks(0, 1, 2), ElementsAre(0, 0.5, 1));
  EXPECT_THAT(NiceTicks(93, 101, 4), ElementsAre(94, 96, 98, 100));
  EXPECT_THAT(NiceTicks(3, 3, 4), ElementsAre(3));
}

TEST(Thin, KeepsTheLowestAndHighestOfEachPart) {
  std::vector<XY> points;
  for (int i = 0; i < 1000; ++i)
    points.emplace_back(i, i == 333 ? 99 : i == 777 ? -99 : i % 3);
  std::vector<XY> thin = Thin(points, 10);
  EXPECT_LE(thin.size(), 20);
  EXPECT_THAT(thin, testing::Contains(XY(333, 99)));
  EXPECT_THAT(thin, testing::Contains(XY(777, -99)));
  EXPECT_TRUE(std::is_sorted(thin.begin(), thin.end()));
}

TEST(Escape, LeavesNothingThatHtmlReads) {
  EXPECT_EQ(Escape("a<b>&\"'"), "a&lt;b&gt;&amp;&quot;&#39;");
  EXPECT_EQ(Escape("é → ok\n"), "é → ok\n");
}

}  // namespace
}  // namespace collector
