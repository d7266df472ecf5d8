#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "inspector/graph/heap_graph.h"

namespace heap {

/// Where the heap is held from. Two roots stand over all nodes: one over the
/// entries of what lives, one over those of what only garbage holds.
struct Entries {
  std::vector<NodeId> live;
  std::vector<NodeId> floating;
};

/// Completes what holds a heap. Nodes with `held` (non-zero) live and are
/// entered one by one. What they don't reach is entered at one node of each of
/// its source components (components that no other leads to), so that every
/// node is reached and a garbage cycle has one retained size: the node with the
/// lowest `rank`, then the first. Of that, nodes with `garbage` (non-zero)
/// count as floating. O(nodes + edges), no recursion; cut edges count.
Entries FindEntries(const HeapGraph& graph, std::span<const uint8_t> held,
                    std::span<const uint8_t> garbage,
                    std::span<const uint8_t> rank);

/// The dominator tree: what a node dominates goes when it goes. Floating nodes
/// do not hold live ones back: what a live node reaches is found from there
/// alone.
struct Dominators {
  /// By node; the roots are node_count() (live) and node_count() + 1
  /// (floating), which have kNoNode.
  std::vector<NodeId> immediate;
  /// All nodes, each after the one that dominates it.
  std::vector<NodeId> order;
  NodeId live_root() const { return static_cast<NodeId>(immediate.size() - 2); }
  NodeId floating_root() const {
    return static_cast<NodeId>(immediate.size() - 1);
  }
};

/// Every node must be reached from the entries. O(edges · log nodes) at worst,
/// nearly linear on heaps; 40 bytes a node and 12 an edge of scratch, no
/// recursion.
Dominators FindDominators(const HeapGraph& graph, const Entries& entries);

/// Bytes freed if the node went, by node; then those of the two roots: all that
/// lives, all that floats. `size(node)` gives its own bytes.
template <typename Size>
std::vector<uint64_t> RetainedSizes(const Dominators& dominators, Size size) {
  std::vector<uint64_t> retained(dominators.immediate.size(), 0);
  for (NodeId node : dominators.order) retained[node] = size(node);
  for (size_t i = dominators.order.size(); i-- > 0;) {
    NodeId node = dominators.order[i];
    retained[dominators.immediate[node]] += retained[node];
  }
  return retained;
}

/// What goes if a whole group of nodes went, for up to kGroups groups at once.
/// `groups`: by node, bit i for being in group i; groups may overlap. By node,
/// bit i: it goes with group i, or is in it. As above, floating nodes do not
/// hold live ones back, nor do they go with one that lives. About one search
/// where the ways round a group are no longer than others, at worst one for
/// each group.
inline constexpr uint32_t kGroups = 63;
std::vector<uint64_t> GoneWith(const HeapGraph& graph, const Entries& entries,
                               std::span<const uint64_t> groups);

}  // namespace heap
