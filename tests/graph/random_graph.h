#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "inspector/graph/heap_graph.h"

namespace heap {

struct Reference {
  NodeId referrer;
  NodeId referent;
  bool cut = false;
};

/// A heap graph with rows of its own. References of one node keep their order.
class OwnedGraph {
 public:
  OwnedGraph(NodeId node_count, const std::vector<Reference>& references)
      : first_edge_(node_count + 1, 0), edges_(references.size()) {
    for (const Reference& reference : references)
      ++first_edge_[reference.referrer + 1];
    for (NodeId node = 0; node < node_count; ++node)
      first_edge_[node + 1] += first_edge_[node];
    std::vector<uint32_t> next = first_edge_;
    for (const Reference& reference : references)
      edges_[next[reference.referrer]++] =
          Edge(reference.referent, reference.cut);
    graph_ = HeapGraph(first_edge_, edges_);
  }
  OwnedGraph(OwnedGraph&&) = default;  // Moved rows stay where they are.

  // NOLINTNEXTLINE(google-explicit-constructor): it stands for its graph.
  operator const HeapGraph&() const { return graph_; }
  const HeapGraph* operator->() const { return &graph_; }

 private:
  std::vector<uint32_t> first_edge_;
  std::vector<Edge> edges_;
  HeapGraph graph_;
};

/// 0 to `most_nodes` nodes; from sparse to dense; with parallel edges, with
/// references to oneself, and with one edge in five cut.
inline OwnedGraph RandomGraph(uint32_t seed, NodeId most_nodes = 9) {
  std::mt19937 random(seed);
  NodeId count = random() % (most_nodes + 1);
  std::vector<Reference> references(count == 0 ? 0 : random() % (3 * count));
  for (Reference& reference : references) {
    reference.referrer = static_cast<NodeId>(random() % count);
    reference.referent = static_cast<NodeId>(random() % count);
    reference.cut = random() % 5 == 0;
  }
  return OwnedGraph(count, references);
}

/// 0 -> 1 -> 2 -> ...
inline OwnedGraph NestedList(NodeId count) {
  std::vector<Reference> references;
  for (NodeId node = 0; node + 1 < count; ++node)
    references.push_back({node, node + 1});
  return OwnedGraph(count, references);
}

/// As NestedList, and the last refers to the first.
inline OwnedGraph LongCycle(NodeId count) {
  std::vector<Reference> references;
  for (NodeId node = 0; node < count; ++node)
    references.push_back({node, (node + 1) % count});
  return OwnedGraph(count, references);
}

/// One node that refers to all others, which refer to it.
inline OwnedGraph WideHub(NodeId count) {
  std::vector<Reference> references;
  for (NodeId node = 1; node < count; ++node) {
    references.push_back({0, node});
    references.push_back({node, 0});
  }
  return OwnedGraph(count, references);
}

}  // namespace heap
