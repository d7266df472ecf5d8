#pragma once

#include <cstdint>
#include <memory_resource>
#include <vector>

#include "inspector/graph/heap_graph.h"

namespace heap {

using ComponentId = uint32_t;

/// Of nodes that lie on no cycle.
inline constexpr ComponentId kNoComponent = 0xffffffff;

/// Strongly connected components over the edges that are not cut, as far as
/// they hold a cycle: two or more nodes, or one that refers to itself.
class Components {
 public:
  Components(const HeapGraph& graph, std::pmr::memory_resource* memory)
      : size(memory), node_count_(graph.node_count()), of_row_(memory) {}

  NodeId node_count() const { return node_count_; }
  /// kNoComponent for most.
  ComponentId Of(NodeId node) const {
    return node < of_row_.size() ? of_row_[node] : kNoComponent;
  }
  bool Has(NodeId node) const { return Of(node) != kNoComponent; }
  ComponentId count() const { return static_cast<ComponentId>(size.size()); }
  std::pmr::vector<uint32_t> size;  // By component, in nodes.

 private:
  friend Components FindComponents(const HeapGraph& graph,
                                   std::pmr::memory_resource* memory);
  NodeId node_count_;
  std::pmr::vector<ComponentId> of_row_;
};

/// O(nodes + edges) time, no recursion; for each row 4 bytes that
/// stay and at most 12 of scratch (24 while its stacks double). Components come
/// in reverse topological order (referents first).
Components FindComponents(const HeapGraph& graph,
                          std::pmr::memory_resource* memory);

}  // namespace heap
