#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace collector {

/// One part of a process's resident memory.
struct BridgePart {
  std::string name;
  std::string meaning;          // Empty where the name says it.
  std::optional<double> bytes;  // Unknown: null in the snapshot.
  std::optional<double> share;  // Of the resident memory.
};

/// The parts of a snapshot's `memory`, in the order in which they are read: the
/// Python heap, malloc, the rest. Disjoint; what malloc counts and is not in
/// RAM is negative. Parts that an older snapshot does not know are left out.
std::vector<BridgePart> BridgeParts(const nlohmann::json& memory);

/// "sum 12 MiB of 12.1 MiB resident · anonymous 9 MiB, the cgroup's 9.5 MiB (95
/// % of it)"; what is unknown is left out. Empty without figures.
std::string BridgeSum(const nlohmann::json& memory);

}  // namespace collector
