#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "collector/verdict/run_facts.h"

namespace collector {

/// Below these a pinned count or its bytes do not count as growth.
inline constexpr double kLeastObjectsPerUnit = 0.02;
inline constexpr double kLeastBytesPerUnit = 20;
/// Growth that slows below this share of its first half may be a cache that
/// fills.
inline constexpr double kSteadyShare = 0.9;
/// Pinned growth is called a leak only over so many units.
inline constexpr double kPinnedUnits = 2500;
/// Snapshots needed, and how many of them are dropped as warm-up.
inline constexpr size_t kSnapshotsNeeded = 10;
/// Fewer do for what no collection takes: nothing gives it back, so growth in
/// every interval is no coincidence. It can only say `leak` then.
inline constexpr size_t kSnapshotsForNever = 7;
inline constexpr size_t kSnapshotsDropped = 2;

/// The snapshots that are judged: readable ones, in order, at roughly equal
/// unit counts. Of two that lie closer than half of the usual distance the
/// later one stays (the last tenth and the end are the same place). Not yet
/// without the first two.
std::vector<const SnapshotAtUnits*> EvenSnapshots(const ServiceRun& service);

/// The objects leg: `verdict`, `growing`, `bounded`, `snapshots`, `units`,
/// `explained_bytes_per_unit`, and `needs` (moved up by the caller). Each entry
/// of `growing` has `signature`, `kind` ("cycle" or "type"), `state`,
/// `per_unit`, `bytes_per_unit`, `leaks`, `reason`, `held_by`, `sites`.
nlohmann::json JudgeObjects(const ServiceRun& service, const std::string& unit);

/// Growth of a figure of the snapshots per unit by least squares; nothing when
/// a snapshot lacks it or all have the same unit count.
std::optional<double> GrowthPerUnit(
    const std::vector<const SnapshotAtUnits*>& snapshots,
    const std::vector<std::string>& summed_paths);

}  // namespace collector
