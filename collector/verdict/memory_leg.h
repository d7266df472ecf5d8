#pragma once

#include <nlohmann/json.hpp>
#include <optional>

#include "collector/verdict/run_facts.h"
#include "collector/verdict/verdict.h"

namespace collector {

/// The gates of the memory leg: before all are met it may say only `leak`, and
/// only of growth that is far above the margin and explained by objects.
inline constexpr double kGateHours = 2;
inline constexpr double kGateUnits = 5000;
inline constexpr double kGateSampleShare = 0.9;
inline constexpr double kGateSettleHours = 5.0 / 60;
inline constexpr double kEarlyMargins = 20;
inline constexpr double kEarlyUnits = 100;
inline constexpr double kEarlyExplainedShare = 0.5;

/// The memory leg: `verdict`, `reason`, `slope_bytes_per_unit`,
/// `slope_bytes_per_hour` ({estimate, lower, upper, theil_sen, tail_lower,
/// tail_upper} or null), `smallest_visible`, `fit` (blocks and line per unit),
/// `units`, `hours` and `needs`. `explained_bytes_per_unit` is what pinned and
/// `never` objects account for, if known.
nlohmann::json JudgeMemory(const ServiceRun& service, const RunFacts& run,
                           std::optional<double> explained_bytes_per_unit,
                           const VerdictOptions& options);

/// The units processed at a moment, straight between two samples; nothing
/// without samples.
std::optional<double> UnitsAt(const ServiceRun& service, int64_t elapsed_ms);

}  // namespace collector
