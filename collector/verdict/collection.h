#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "collector/verdict/run_facts.h"

namespace collector {

/// When CPython's next full collection comes, in units of work, from the last
/// snapshot's `gc.full_collection` and the rates seen between snapshots. A full
/// collection comes when both are met: enough collections of the middle
/// generation, and enough survivors since the last one (a quarter of what
/// lives long already; Modules/gcmodule.c, 3.11).
struct FullCollection {
  std::optional<double> in_units;
  std::string reason;  // Why `in_units` is not known.
};
FullCollection NextFullCollection(const ServiceRun& service);

/// How often the oldest generation was collected before the snapshot.
std::optional<double> FullCollectionsUntil(const SnapshotAtUnits& snapshot);

/// The figures of CollectionSentence: `made`, `taken`, `floating`,
/// `floating_bytes`, `floating_bound_bytes`, `pinned_cycles`, `never`,
/// `units_to_full_collection`, `units`, `collector_on`, `sentence`, `reasons`.
nlohmann::json CollectionFigures(const ServiceRun& service,
                                 const std::string& unit);

}  // namespace collector
