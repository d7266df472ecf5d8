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
struct Components {
  explicit Components(std::pmr::memory_resource* memory)
      : of(memory), size(memory) {}
  std::pmr::vector<ComponentId> of;  // By node; kNoComponent for most.
  std::pmr::vector<uint32_t> size;   // By component, in nodes.
  ComponentId count() const { return static_cast<ComponentId>(size.size()); }
};

/// O(nodes + edges) time, at most 12 bytes per node of scratch (24 while its
/// stacks double), no recursion.
/// Components come in reverse topological order (referents first).
Components FindComponents(const HeapGraph& graph,
                          std::pmr::memory_resource* memory);

}  // namespace heap
