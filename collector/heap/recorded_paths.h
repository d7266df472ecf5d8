#pragma once

#include "collector/heap/recorded_heap.h"
#include "inspector/graph/states.h"

namespace collector {

/// How a path is told: with every step as it is, or without the places in
/// sequences, so that what many objects have in common reads the same.
enum class PathStyle { kExact, kTypical };

/// Paths to the objects of a recorded heap, by the inspector's own rules: the
/// shortest from an imported module if there is one, else from a thread, the
/// interpreter or whatever else has a name, else from C, else from a running
/// function; for floating garbage from where its cycle is entered. The heap
/// outlives it.
class RecordedPaths {
 public:
  explicit RecordedPaths(const RecordedHeap& heap);

  /// From where the path begins to the node. Longer ones than 20,000 lack
  /// their beginning.
  std::vector<heap::NodeId> To(heap::NodeId node) const;
  /// What holds the first node of such a path: "", if it is a module and so
  /// speaks for itself, "thread 17, work (a.py:3): local x", "held from C: 2
  /// references"; "garbage" if nothing does.
  std::string StartOf(const std::vector<heap::NodeId>& path) const;
  /// "module a.REGISTRY → list[3] → Session". The middle of long paths is left
  /// out.
  std::string Text(heap::NodeId node, PathStyle style) const;
  /// How the one before it on a path names the node.
  std::string StepTo(heap::NodeId node, PathStyle style) const;

 private:
  bool IsFolded(heap::NodeId dict) const;
  bool HasHolder(heap::NodeId node) const {
    return holder_[node] != node && holder_[node] != heap::kNoNode;
  }
  void EnterGarbage();

  const RecordedHeap& heap_;
  std::vector<heap::NodeId> holder_;  // By node.
  std::vector<uint32_t> edge_;        // By node: the holder's to it.
  // By node: the first root, and the first that is a frame, and is none.
  using Roots = std::unordered_map<heap::NodeId, const heap::RootRecord*>;
  Roots root_of_;
  Roots frame_of_;
  Roots other_of_;
};

}  // namespace collector
