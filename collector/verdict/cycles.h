#pragma once

#include <nlohmann/json.hpp>
#include <vector>

namespace collector {

/// True if the cycle runs through a type that the snapshot watches: its
/// signature names the type's last part. An interpreter is full of cycles that
/// live as long as it (every class is one); these are the ones asked about. Of
/// an entry of `heap.types`: true if the type itself is watched.
bool IsThroughWatched(const nlohmann::json& cycle,
                      const nlohmann::json& report);

/// The cycles through watched types; all cycles if the snapshot watches
/// nothing. Empty where the list is missing.
std::vector<nlohmann::json> CyclesOfInterest(const nlohmann::json& report);

/// True if the snapshot watches any type.
bool WatchesTypes(const nlohmann::json& report);

}  // namespace collector
