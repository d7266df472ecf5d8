#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "collector/verdict/run_facts.h"

namespace collector {

/// One run in a report, with its verdict.
struct ReportArm {
  std::string arm;  // Its title, e.g. "before"; the run's name if there is one.
  RunFacts run;
  nlohmann::json verdict;  // From JudgeRun(run).
};

/// One HTML file that needs nothing else: no network (forbidden by its own
/// content security policy), no script. `comparisons` is an array of what
/// CompareRuns gave, or null. Same input, same bytes.
std::string HtmlReport(const std::vector<ReportArm>& arms,
                       const nlohmann::json& comparisons = nullptr);

}  // namespace collector
