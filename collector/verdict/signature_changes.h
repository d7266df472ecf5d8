#pragma once

#include <nlohmann/json.hpp>

#include "collector/verdict/run_facts.h"

namespace collector {

/// Counts this close are the same: two objects, or a twentieth.
inline constexpr double kSameObjects = 2;
inline constexpr double kSameShare = 0.05;

/// What became of each cycle signature: `removed` (in no snapshot of the
/// patched run), `new` (in none of the base) and `remaining`, each entry with
/// `signature`, `watched`, `change` ("removed", "new", "fewer", "same",
/// "more"), `state` (the one most of them are in), `per_unit_before`,
/// `per_unit_after`, `most_before`, `most_after` and `reason`.
///
/// What is pinned or `never` taken stays, so its growth per unit is compared.
/// What the collector takes in between, or what is in flight, has no growth
/// that means something: the most seen in any snapshot is compared, and
/// `per_unit_*` is null with its reason. A signature that is never kept and
/// seen at most twice at a time is `same`: seeing it is a matter of the moment.
nlohmann::json SignatureChanges(const ServiceRun& base,
                                const ServiceRun& patched);

}  // namespace collector
