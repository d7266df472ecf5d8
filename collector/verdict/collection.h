#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "collector/verdict/run_facts.h"

namespace collector {

/// When CPython's next full collection comes, from the last snapshot's `gc` and
/// the rates seen between snapshots. Collections are tried whenever enough
/// objects were made (a *turn*). After threshold[1] + 1 turns of the youngest
/// generation the next is one of the middle generation; a turn is a full one if
/// more than threshold[2] of those have been, and what survived them is at
/// least a quarter of what lived through the last full one
/// (gc_collect_generations: Modules/gcmodule.c, 3.11 and 3.12,
/// Python/gc.c, 3.13 and 3.14.5).
struct FullCollection {
  std::optional<double> in_units;    // Nothing where the run counts no units.
  std::optional<double> in_seconds;  // As long as the pace stays the same.
  std::string reason;                // Why neither is known.
};
FullCollection NextFullCollection(const ServiceRun& service);

/// How often the oldest generation was collected before the snapshot.
std::optional<double> FullCollectionsUntil(const SnapshotAtUnits& snapshot);

/// The figures of CollectionSentence: `made`, `taken`, `floating`,
/// `floating_bytes`, `floating_bound_bytes`, `pinned_cycles`, `never`,
/// `units_to_full_collection`, `seconds_to_full_collection`,
/// `full_collection_reason`, `full_collection_ms` (how long the last one took),
/// `units`, `collector_on`, `sentence`.
nlohmann::json CollectionFigures(const ServiceRun& service,
                                 const std::string& unit);

}  // namespace collector
