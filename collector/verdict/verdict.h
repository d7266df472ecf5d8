#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "collector/verdict/run_facts.h"

namespace collector {

/// What counts as growth that matters. Growth is a leak of the memory leg only
/// when it exceeds both margins, and clean only when it stays below both.
struct VerdictOptions {
  double margin_bytes_per_unit = 1024;
  double margin_bytes_per_hour = 5.0 * 1024 * 1024;
};

/// Judges a run: `cyclescope.verdict/1` with one entry of `services` per
/// service, each with both legs. Pure: reads nothing but `run`, throws nothing
/// on missing figures; what cannot be known is null, its reason stands in
/// `needs` or `reasons`.
///
/// Beside the fields of the schema every service carries `watched` and `cycles`
/// (of the last snapshot), `collection` (figures of CollectionSentence),
/// `inspection` (pause and cost of the snapshots) and `line`, the first line
/// with both legs.
nlohmann::json JudgeRun(const RunFacts& run,
                        const VerdictOptions& options = {});

/// Judges both runs and says what the patch changed: the verdict of the patched
/// run (each service with the verdict of the base under `base`) with `outcome`,
/// `reason`, `functions_changed`, `packages_changed` and `objects` added.
nlohmann::json CompareRuns(const RunFacts& base, const RunFacts& patched,
                           const VerdictOptions& options = {});

/// The exit code of a verdict or a comparison: the first that occurs of 10, 12,
/// 11, 0 (collector/error.h).
int ExitCodeOf(const nlohmann::json& verdict);

/// What a person reads in a terminal. The first line of each service names both
/// legs. Ends with a line feed.
std::string RenderVerdict(const nlohmann::json& verdict);
std::string RenderCompare(const nlohmann::json& comparison);

/// One measured sentence that answers "Do these cycles prevent collection?".
/// Counts objects, not cycles: what the collector took is known from its own
/// statistics (`gc.stats[].collected`, all types), what waits from the walk
/// (`heap.floating_objects`); made = taken + growth of what waits, between the
/// first and the last snapshot. Says so when a figure cannot be known.
std::string CollectionSentence(const ServiceRun& service,
                               const std::string& unit = "unit");

}  // namespace collector
