#pragma once

#include <cstdint>
#include <memory_resource>
#include <span>
#include <vector>

#include "inspector/graph/heap_graph.h"

namespace heap {

/// What keeps an object (design, Words): a path from outside the graph, nothing
/// but other garbage, or running frames alone.
enum class State : uint8_t { kPinned, kFloating, kInFlight };

/// What the walk knows of a node. Set by whoever builds the graph.
enum NodeFlag : uint8_t {
  kTracked = 1,         // The collector tracks it, and it is not frozen.
  kFrozen = 2,          // In the permanent generation.
  kCollectorRoot = 4,   // More references than tracked objects hold.
  kHeldOutside = 8,     // More references than the graph and frames explain.
  kHeldByFrame = 16,    // A running frame or a handled exception refers to it.
  kPermanentRoot = 32,  // As kCollectorRoot, frozen referrers counted too.
  kNamedRoot = 64,      // Something outside the graph that has a name holds it.
};

/// Marks what the collector would take: CPython's own rule (Modules/gcmodule.c,
/// 3.11 … 3.12, and Python/gc.c, 3.13: deduce_unreachable). Among the nodes
/// with one of the `members` flags, those that no member with one of the
/// `roots` flags reaches through members. O(nodes + edges). One byte per node,
/// 1 = unreachable.
std::pmr::vector<uint8_t> FindUnreachable(const HeapGraph& graph,
                                          std::span<const uint8_t> flags,
                                          uint8_t members, uint8_t roots,
                                          std::pmr::memory_resource* memory);

struct States {
  explicit States(std::pmr::memory_resource* memory)
      : of(memory), holder(memory) {}
  std::pmr::vector<State> of;
  /// The referrer on a path from what keeps the node; the node itself where
  /// the path begins, kNoNode for floating nodes. Shortest from the `first`
  /// nodes if one reaches it, else from a named root, else from any.
  std::pmr::vector<NodeId> holder;
};

/// States of all nodes, in O(nodes + edges). Tracked nodes float exactly if
/// FindUnreachable(kTracked, kCollectorRoot) says so; what is not tracked
/// floats if only floating nodes lead to it. Of the rest, a node is pinned if
/// one of the `first` (nodes that a person would start from, such as imported
/// modules; known to be pinned), or one with kNamedRoot or kHeldOutside reaches
/// it, else in flight if one with kHeldByFrame does. What none of them reaches
/// (held by untracked garbage) counts as pinned, since the next collection
/// cannot take it.
States FindStates(const HeapGraph& graph, std::span<const uint8_t> flags,
                  std::span<const NodeId> first,
                  std::pmr::memory_resource* memory);

}  // namespace heap
