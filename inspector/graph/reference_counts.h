#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "inspector/graph/heap_graph.h"

namespace heap {

/// One reference of a graph, by its place among all edges.
struct EdgeAt {
  NodeId referrer;
  uint32_t edge;
};

/// Frees as the interpreter does without its collector: a node whose count
/// falls to zero goes at once, and with it its references. Host only.
class ReferenceCounts {
 public:
  /// `counts`, by node: what the interpreter counts, references from outside
  /// the graph included; kUncounted: never freed. Both outlive this.
  ReferenceCounts(const HeapGraph& graph, std::span<const uint32_t> counts);
  static constexpr uint32_t kUncounted = 0xffffffff;

  struct Freed {
    NodeId node;
    NodeId by;  // Whose reference to it was the last to go.
  };
  /// What goes if the edges, each named once, are taken away; each node after
  /// the one that it goes by. Whether the rest is reachable does not matter:
  /// cycles stay. Finalizers are not run. O(edges + edges of what goes); the
  /// counts are then as before. Valid until the next call.
  std::span<const Freed> Drop(std::span<const EdgeAt> edges);

 private:
  void Decrement(NodeId node, NodeId by);

  const HeapGraph& graph_;
  std::span<const uint32_t> counts_;
  std::vector<uint32_t> left_;     // By node.
  std::vector<uint8_t> dropped_;   // By edge.
  std::vector<NodeId> decreased_;  // To be restored.
  std::vector<Freed> freed_;
};

}  // namespace heap
