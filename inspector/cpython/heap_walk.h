#pragma once

#include "inspector/cpython/frames.h"
#include "inspector/cpython/leaves_last.h"
#include "inspector/cpython/missing_counts.h"
#include "inspector/cpython/node_index.h"
#include "inspector/cpython/roots.h"
#include "inspector/cpython/size_column.h"
#include "inspector/cpython/sizes.h"
#include "inspector/cpython/thread_stacks.h"
#include "inspector/cpython/type_table.h"
#include "inspector/graph/heap_graph.h"
#include "inspector/graph/states.h"

namespace inspector {

/// Something outside the graph that holds a node.
struct Root {
  heap::NodeId node = 0;
  RootKind kind = RootKind::kStatic;
  uint32_t of = 0;  // kThread: the native id; kStatic: a StringId, the file.
};

/// How many of the references that the interpreter counts were found. Immortal
/// objects, whose references nobody counts, are left out.
struct Account {
  explicit Account(std::pmr::memory_resource* memory) : exceptions(memory) {}
  uint64_t counted = 0;
  uint64_t explained = 0;
  struct Exception {
    heap::NodeId node;
    int64_t unexplained;  // Negative: more were found than there are.
  };
  std::pmr::vector<Exception> exceptions;  // By node.
};

/// Walks the whole heap of the interpreter: every object that the collector
/// tracks (what `gc.get_objects` would list, and frozen ones), and all that
/// hangs from them or from running frames, by each type's own tp_traverse and
/// by the native references that it leaves out. What is then still without an
/// explanation is looked for in the state of interpreter and threads, in the
/// data of loaded files and on the stacks.
///
/// Runs in the child: reads the interpreter's memory, writes only the arena.
/// The collector must not be at work. O(objects + references).
class HeapWalk {
 public:
  /// `stacks`: where the threads' stack pointers were at the clone. `modules`:
  /// see ListModuleData.
  HeapWalk(const Runtime& runtime, const ThreadStacks& stacks,
           std::span<const AddressRange> modules, TypeTable& types,
           heap::StringTable& strings, heap::Arena& arena);
  HeapWalk(const HeapWalk&) = delete;

  /// Once, before all else. What only the walk needs is given back at its end:
  /// the index and the counts, 6 bytes for each object.
  void Run();

  /// Nodes: those with references, then those without; both in the order of
  /// discovery: by generation (youngest first), frozen ones, then the rest.
  heap::HeapGraph graph() const {
    return {node_count(),
            {first_edge_.data(), first_edge_.size()},
            {edges_.data(), edges_.size()}};
  }
  heap::NodeId node_count() const {
    return static_cast<heap::NodeId>(type_ids_.size());
  }
  heap::NodeId tracked_count() const { return generation_end_[2]; }
  heap::NodeId frozen_count() const { return frozen_end_ - generation_end_[2]; }
  /// 0, 1, 2 for tracked nodes, -1 for others.
  int GenerationOf(heap::NodeId node) const;

  PyObject* object(heap::NodeId node) const {
    return reinterpret_cast<PyObject*>(index_.AddressOf(node));
  }
  TypeId type(heap::NodeId node) const { return type_ids_[node]; }
  /// ShallowSize of the node, as it was when the walk met it.
  uint64_t size(heap::NodeId node) const {
    return sizes_.IsKept(node) ? sizes_[node]
                               : ShallowSize(runtime_, object(node));
  }
  /// Of all nodes.
  const BlockBytes& blocks() const { return blocks_; }
  std::span<const uint8_t> flags() const {
    return {flags_.data(), flags_.size()};
  }
  const RunningFrames& frames() const { return frames_; }
  std::span<const Root> roots() const { return {roots_.data(), roots_.size()}; }
  /// The imported modules: values of sys.modules.
  std::span<const heap::NodeId> modules() const { return modules_; }
  /// References of the node that have no explanation; negative: more were found
  /// than there are. Zero for immortal objects. O(log exceptions).
  int64_t Unexplained(heap::NodeId node) const;
  const Account& account() const { return account_; }
  /// The frame that holds the node directly, or -1.
  int FrameHolding(heap::NodeId node) const;

  /// The type whose tp_traverse is at work, for the crash handler.
  static constexpr TypeId kNotTraversing = 0xffffffff;
  TypeId traversing() const { return traversing_; }

 private:
  class RootTaker;

  heap::NodeId FindOrAdd(PyObject* object);
  NodeIndex::Entry Add(PyObject* object, NodeIndex::Place place);
  void AddList(const char* head);
  void Traverse(heap::NodeId node);
  void TraverseUpTo(heap::NodeId end);
  void Measure(heap::NodeId node);
  void Append(PyObject* referent, uintptr_t marks);
  void Resolve();
  void VisitNative(heap::NodeId node, NativeReferences kind);
  void CountNativeReferences();
  void CountFrameReferences();
  void FindRoots();
  void ListModules();
  void CountStackReferences();
  void DrawUpAccount();
  void PutLeavesLast();
  bool MayLiveOnStack(heap::NodeId node) const;
  static int Visit(PyObject* referent, void* walk) noexcept;

  const Runtime& runtime_;
  ThreadStacks stacks_;
  std::span<const AddressRange> module_data_;
  TypeTable& types_;
  heap::StringTable& strings_;
  heap::Arena& arena_;
  NodeIndex index_;
  heap::IdColumn type_ids_;
  MissingCounts missing_;
  heap::Column<uint8_t> flags_;
  SizeColumn sizes_;
  heap::Column<uint32_t> first_edge_;  // By row, then the end.
  heap::Column<heap::Edge> edges_;
  BlockBytes blocks_;
  RunningFrames frames_;
  std::pmr::vector<Root> roots_;
  std::pmr::vector<heap::NodeId> modules_;
  Account account_;
  /// Native references are counted as they are found once the collector's own
  /// rule has been applied, which does not know of them.
  bool counts_native_ = false;
  LeavesLast order_;  // Nodes have these numbers once the walk is over.
  // In the order of discovery, and how many of the nodes up to there have rows.
  heap::NodeId generation_end_[3] = {};
  heap::NodeId generation_rows_[3] = {};
  heap::NodeId frozen_end_ = 0;

  // The object whose references are being visited.
  bool visited_is_cut_ = false;      // With all its references.
  PyObject* visited_cut_ = nullptr;  // Its one referent that is cut by name.
  heap::NodeId next_ = 0;
  TypeId traversing_ = kNotTraversing;

  // References met whose referents have not been looked up yet: addresses, with
  // marks in the lowest bits. Looking up many at a time lets the memory that
  // each one needs be fetched while others are worked on.
  static constexpr size_t kBatch = 512;
  static constexpr uintptr_t kCut = 1;
  static constexpr uintptr_t kNative = 2;
  uintptr_t batch_[kBatch];
  NodeIndex::Place places_[kBatch];
  size_t batched_ = 0;
};

}  // namespace inspector
