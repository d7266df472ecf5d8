#pragma once

#include <map>

#include "collector/heap/recorded_heap.h"
#include "inspector/graph/dominators.h"

namespace collector {

/// Retained sizes of a recorded heap: the bytes that would be freed if an
/// object, or a group of objects, went, and the collector with them. Of
/// floating garbage each cycle that nothing else leads to is entered at one
/// object, a watched one or one of the program's if there is any. The heap
/// outlives it. O(references · log objects), 32 bytes an object.
class RetainedHeap {
 public:
  explicit RetainedHeap(const RecordedHeap& heap);

  /// In bytes.
  uint64_t Of(heap::NodeId node) const { return retained_[node]; }
  /// Without which the node would go; kNoNode if it is held in more ways.
  heap::NodeId DominatorOf(heap::NodeId node) const;
  /// The node, then all that goes with it.
  std::span<const heap::NodeId> GoesWith(heap::NodeId node) const {
    return {tree_.data() + place_[node], below_[node]};
  }

  /// The objects that retain most. The namespace dict of an object that
  /// dominates it is left out.
  std::vector<heap::NodeId> Largest(size_t count) const;

  /// Bytes freed if all nodes of a group went, by group; groups may overlap.
  std::vector<uint64_t> OfGroups(
      const std::vector<std::vector<heap::NodeId>>& groups) const;
  /// Bytes freed if all objects of a type went, by the type's name.
  std::map<std::string, uint64_t> OfTypes() const;

 private:
  const RecordedHeap& heap_;
  heap::Entries entries_;
  heap::Dominators dominators_;
  std::vector<uint64_t> retained_;
  // The dominator tree in preorder, so that what a node dominates is a span.
  std::vector<heap::NodeId> tree_;
  std::vector<uint32_t> place_;  // By node, in `tree_`.
  std::vector<uint32_t> below_;  // By node: nodes of its part of the tree.
};

}  // namespace collector
