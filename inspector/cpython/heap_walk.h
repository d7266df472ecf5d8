#pragma once

#include "inspector/cpython/frames.h"
#include "inspector/cpython/node_index.h"
#include "inspector/cpython/thread_stacks.h"
#include "inspector/cpython/type_table.h"
#include "inspector/graph/heap_graph.h"
#include "inspector/graph/states.h"

namespace inspector {

/// Walks the whole heap of the interpreter: every object that the collector
/// tracks (what `gc.get_objects` would list, and frozen ones), and all that
/// hangs from them or from running frames, by each type's own tp_traverse.
///
/// Runs in the child: reads the interpreter's memory, writes only the arena.
/// The collector must not be at work. O(objects + references).
class HeapWalk {
 public:
  /// `stacks`: where the threads' stack pointers were at the clone.
  HeapWalk(const Runtime& runtime, const ThreadStacks& stacks, TypeTable& types,
           heap::Arena& arena);
  HeapWalk(const HeapWalk&) = delete;

  void Run();

  /// Nodes: tracked ones by generation (youngest first), then frozen ones, then
  /// the rest in order of discovery.
  heap::HeapGraph graph() const {
    return heap::HeapGraph({first_edge_.data(), first_edge_.size()},
                           {edges_.data(), edges_.size()});
  }
  heap::NodeId node_count() const {
    return static_cast<heap::NodeId>(objects_.size());
  }
  heap::NodeId tracked_count() const { return generation_end_[2]; }
  heap::NodeId frozen_count() const { return frozen_end_ - generation_end_[2]; }
  /// 0, 1, 2 for tracked nodes, -1 for others.
  int GenerationOf(heap::NodeId node) const;

  PyObject* object(heap::NodeId node) const { return objects_[node]; }
  TypeId type(heap::NodeId node) const { return type_ids_[node]; }
  heap::NodeId Find(const PyObject* object) { return index_.Find(object); }
  std::span<const uint8_t> flags() const {
    return {flags_.data(), flags_.size()};
  }
  const RunningFrames& frames() const { return frames_; }
  /// The frame that holds the node directly, or -1.
  int FrameHolding(heap::NodeId node) const;

  /// The type whose tp_traverse is at work, for the crash handler.
  static constexpr TypeId kNotTraversing = 0xffffffff;
  TypeId traversing() const { return traversing_; }

 private:
  heap::NodeId FindOrAdd(PyObject* object);
  void AddList(const char* head);
  void Traverse(heap::NodeId node);
  void TraverseUpTo(heap::NodeId end);
  void CountFrameReferences();
  void CountStackReferences();
  bool MayLiveOnStack(heap::NodeId node) const;
  bool IsCut(PyObject* referent, TypeKind referent_kind) const;
  static int Visit(PyObject* referent, void* walk) noexcept;

  const Runtime& runtime_;
  ThreadStacks stacks_;
  TypeTable& types_;
  heap::Arena& arena_;
  NodeIndex index_;
  heap::Column<PyObject*> objects_;
  heap::Column<TypeId> type_ids_;
  heap::Column<uint32_t> referrers_;  // References found, by node.
  heap::Column<uint8_t> flags_;
  heap::Column<uint32_t> first_edge_;
  heap::Column<heap::Edge> edges_;
  RunningFrames frames_;
  heap::NodeId generation_end_[3] = {};
  heap::NodeId frozen_end_ = 0;

  // The object whose references are being visited.
  PyObject* visited_ = nullptr;
  TypeKind visited_kind_ = TypeKind::kOther;
  PyObject* visited_cut_ = nullptr;  // Its one referent that is cut by name.
  heap::NodeId next_ = 0;
  TypeId traversing_ = kNotTraversing;
};

}  // namespace inspector
