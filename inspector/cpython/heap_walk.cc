#include "inspector/cpython/heap_walk.h"

#include <algorithm>

namespace inspector {

using heap::Edge;
using heap::NodeId;

HeapWalk::HeapWalk(const Runtime& runtime, const ThreadStacks& stacks,
                   std::span<const AddressRange> modules, TypeTable& types,
                   heap::StringTable& strings, heap::Arena& arena)
    : runtime_(runtime),
      stacks_(stacks),
      module_data_(modules),
      types_(types),
      strings_(strings),
      arena_(arena),
      index_(runtime.allocator, arena),
      type_ids_(arena),
      missing_(arena),
      flags_(arena),
      sizes_(arena),
      first_edge_(arena),
      edges_(arena, 16),
      frames_(&arena),
      roots_(&arena),
      modules_(&arena),
      account_(&arena),
      order_(arena) {}

void HeapWalk::Run() {
  const Layout& layout = *runtime_.layout;
  for (int i = 0; i < 3; ++i) {
    AddList(runtime_.generation0 + i * layout.gc_generation_size);
    generation_end_[i] = node_count();
  }
  AddList(runtime_.generation0 + runtime_.gc_permanent);
  frozen_end_ = node_count();
  for (NodeId node = 0; node < frozen_end_; ++node)
    flags_[node] |= node < tracked_count() ? heap::kTracked : heap::kFrozen;

  // The collector subtracts the references of what it collects, no others: the
  // counts are looked at when just those have been visited.
  TraverseUpTo(tracked_count());
  auto mark_roots = [this](NodeId end, uint8_t flag) {
    for (NodeId node = 0; node < end; ++node)
      if (missing_.IsPositive(node)) flags_[node] |= flag;
  };
  mark_roots(tracked_count(), heap::kCollectorRoot);
  TraverseUpTo(frozen_end_);
  mark_roots(frozen_end_, heap::kPermanentRoot);
  CountNativeReferences();
  counts_native_ = true;

  frames_ = FindRunningFrames(runtime_, &arena_);
  for (const FrameReference& reference : frames_.references)
    if (!reference.candidate) FindOrAdd(reference.object);
  FindOrAdd(runtime_.modules);
  while (next_ < node_count()) TraverseUpTo(node_count());
  first_edge_.push_back(static_cast<uint32_t>(edges_.size()));

  CountFrameReferences();
  FindRoots();
  ListModules();
  CountStackReferences();
  DrawUpAccount();
  missing_.Clear();
  PutLeavesLast();
}

void HeapWalk::AddList(const char* head) {
  // Bits 0 and 1 of _gc_next are marks; _gc_prev is not a link at all times.
  auto next = [](const char* gc) {
    return reinterpret_cast<const char*>(Read<uintptr_t>(gc, 0) &
                                         ~uintptr_t{3});
  };
  // Most objects follow each other in memory as in the list.
  constexpr int kAhead = 512;
  for (const char* gc = next(head); gc != head && gc != nullptr;
       gc = next(gc)) {
    __builtin_prefetch(gc + kAhead);
    FindOrAdd(reinterpret_cast<PyObject*>(const_cast<char*>(gc) + kGcHeadSize));
  }
}

NodeId HeapWalk::FindOrAdd(PyObject* object) {
  NodeIndex::Place place = index_.PlaceOf(object);
  NodeIndex::Entry entry = index_.Get(place, object);
  return entry.node != heap::kNoNode ? entry.node : Add(object, place).node;
}

/// Edges to types and modules are cut, and so may be those to what refers to
/// nothing: it lies on no cycle.
NodeIndex::Entry HeapWalk::Add(PyObject* object, NodeIndex::Place place) {
  NodeId node = node_count();
  if (node == NodeIndex::kMostNodes) arena_.Exhaust();
  TypeId id = types_.Find(TypeOf(object));
  const TypeInfo& type = types_[id];
  NodeIndex::Entry entry = {node, !type.refers ||
                                      type.kind == TypeKind::kType ||
                                      type.kind == TypeKind::kModule};
  index_.Add(place, object, entry);
  type_ids_.push_back(id);
  if (IsImmortal(runtime_, object)) {
    missing_.AddUncounted();
  } else {
    int64_t count = RefCount(runtime_, object);
    missing_.Add(count);
    account_.counted += uint64_t(count);
  }
  flags_.push_back(0);
  // Where it can have no other block, its pool tells its size.
  bool known = place.block_bytes != 0 && place.offset == type.only_block_offset;
  sizes_.Add(known ? place.block_bytes : 0);
  if (known)
    blocks_.pymalloc += place.block_bytes;
  else if (!type.refers)
    Measure(node);
  return entry;
}

void HeapWalk::Measure(NodeId node) {
  BlockBytes blocks = BlocksOf(runtime_, object(node));
  blocks_ += blocks;
  sizes_.Set(node, blocks.total());
}

void HeapWalk::TraverseUpTo(NodeId end) {
  // When an object is there, what most of them keep their references in.
  constexpr NodeId kNear = 6;
  constexpr NodeId kFar = 16;
  auto type_of = [this](NodeId node) -> const TypeInfo& {
    return types_[type_ids_[node]];
  };
  for (; next_ < end; ++next_) {
    if (NodeId far = next_ + kFar; far < node_count() && type_of(far).refers)
      __builtin_prefetch(object(far));
    if (NodeId near = next_ + kNear; near < node_count()) {
      if (int field = type_of(near).buffer_field; field != 0)
        __builtin_prefetch(ReadPointer(object(near), field));
    }
    size_t begin = edges_.size() + batched_;
    if (type_of(next_).refers) Traverse(next_);
    bool has_references = edges_.size() + batched_ != begin;
    if (has_references) first_edge_.push_back(static_cast<uint32_t>(begin));
    order_.Add(has_references);
  }
  Resolve();
}

void HeapWalk::Traverse(NodeId node) {
  if (edges_.size() > 0xfffffff0 - kBatch) arena_.Exhaust();
  const TypeInfo& type = types_[type_ids_[node]];
  PyObject* object = this->object(node);
  if (!sizes_.IsMeasured(node)) Measure(node);
  NativeReferences native = type.native;
  bool is_generator = type.kind == TypeKind::kGenerator;
  const Layout& layout = *runtime_.layout;
  if (native == NativeReferences::kDict &&
      IsInternedTable(EntriesOfDict(layout, object)))
    return;
  if (type.traverse == nullptr || !IsCollectable(runtime_, object))
    return VisitNative(node, native);
  visited_is_cut_ =
      type.kind == TypeKind::kModule || type.kind == TypeKind::kType;
  visited_cut_ = nullptr;
  if (type.kind == TypeKind::kFunction)
    visited_cut_ = ReadObject(object, layout.function_globals);
  else if (type.kind == TypeKind::kFrame)
    visited_cut_ = ReadObject(object, layout.frame_back);
  traversing_ = type_ids_[node];
  type.traverse(object, &HeapWalk::Visit, this);
  traversing_ = kNotTraversing;
  // The collector does not subtract them (Python/gc.c, _PyGC_VisitStackRef).
  if (is_generator)
    ForEachUncounted(layout, object, [this](PyObject* referent) {
      Resolve();
      missing_.Increment(index_.Find(referent));
    });
  VisitNative(node, native);
}

int HeapWalk::Visit(PyObject* referent, void* argument) noexcept {
  auto& walk = *static_cast<HeapWalk*>(argument);
  bool cut = walk.visited_is_cut_ || referent == walk.visited_cut_;
  walk.Append(referent, cut ? kCut : 0);
  return 0;
}

void HeapWalk::VisitNative(NodeId node, NativeReferences kind) {
  if (kind == NativeReferences::kNone) return;
  ForEachNativeReference(runtime_, object(node), kind,
                         [this](PyObject* referent, const ReferenceName&) {
                           Append(referent, kNative);
                         });
}

void HeapWalk::Append(PyObject* referent, uintptr_t marks) {
  if (batched_ == kBatch) Resolve();
  batch_[batched_++] = reinterpret_cast<uintptr_t>(referent) | marks;
}

/// Looks the batch up, in the order in which it was met. Each referent passes
/// three stages, a fixed distance apart: its place in the index is fetched;
/// then what its entry leads to; then it is counted, or added.
void HeapWalk::Resolve() {
  constexpr size_t kApart = 24;
  size_t count = batched_;
  batched_ = 0;
  auto object = [this](size_t i) {
    return reinterpret_cast<PyObject*>(batch_[i] & ~(kCut | kNative));
  };
  for (size_t step = 0; step < count + 2 * kApart; ++step) {
    if (step < count) {
      places_[step] = index_.PlaceOf(object(step));
      __builtin_prefetch(places_[step].slot, 1);
    }
    if (size_t i = step - kApart; i < count) {
      NodeIndex::Entry entry = index_.Get(places_[i], object(i));
      if (entry.node == heap::kNoNode)
        __builtin_prefetch(object(i));
      else
        missing_.Prefetch(entry.node);
    }
    if (size_t i = step - 2 * kApart; i < count) {
      PyObject* referent = object(i);
      NodeIndex::Entry entry = index_.Get(places_[i], referent);
      if (entry.node == heap::kNoNode) entry = Add(referent, places_[i]);
      bool native = (batch_[i] & kNative) != 0;
      if (!native || counts_native_) missing_.Decrement(entry.node);
      edges_.push_back(
          native ? Edge::Native(entry.node)
                 : Edge(entry.node, entry.mark || (batch_[i] & kCut) != 0));
    }
  }
}

/// Of all nodes that were traversed.
void HeapWalk::CountNativeReferences() {
  for (size_t i = 0; i < edges_.size(); ++i)
    if (edges_[i].native()) missing_.Decrement(edges_[i].referent());
}

void HeapWalk::CountFrameReferences() {
  // Candidates last: what other frames really hold must not lack for them.
  for (bool candidates : {false, true}) {
    for (FrameReference& reference : frames_.references) {
      if (reference.candidate != candidates) continue;
      NodeId node = index_.Find(reference.object);
      if (node == heap::kNoNode) continue;
      if (candidates && !missing_.IsPositive(node)) continue;
      reference.node = node;
      missing_.Decrement(node);
      flags_[node] |= heap::kHeldByFrame;
    }
  }
}

/// What C code holds for the length of a call and nothing else refers to: the
/// tuple of a call's arguments, an exception on its way, a frame, a bound
/// method. Other types are left out, since a pointer on a stack may be borrowed
/// or stale and must not explain away the root that really holds the object.
bool HeapWalk::MayLiveOnStack(NodeId node) const {
  const TypeInfo& type = types_[type_ids_[node]];
  if (type.kind == TypeKind::kFrame || type.kind == TypeKind::kTraceback)
    return true;
  uint64_t flags = TypeFlags(runtime_, type.type);
  return (flags & (kFlagTuple | kFlagException)) != 0 ||
         type.type == runtime_.type_method ||
         type.type == runtime_.type_generator ||
         type.type == runtime_.type_coroutine;
}

/// Conservative, as collectors for C do it (Boehm and Weiser, "Garbage
/// collection in an uncooperative environment", 1988): a word on a stack in use
/// that equals an object's address explains one reference of it, if one is
/// unexplained. So an object held by a C call in progress counts as in flight.
void HeapWalk::CountStackReferences() {
  FindStackEnds(stacks_);
  for (size_t i = 0; i < stacks_.count; ++i) {
    const ThreadStack& stack = stacks_.stacks[i];
    uint32_t frame = 0;
    while (frame < frames_.frames.size() &&
           frames_.frames[frame].native_thread_id != stack.native_thread_id)
      ++frame;
    if (stack.end == 0 || frame == frames_.frames.size()) continue;
    uintptr_t at = (stack.begin + 7) & ~uintptr_t{7};
    for (; at + 8 <= stack.end; at += 8) {
      auto* object = *reinterpret_cast<PyObject* const*>(at);
      NodeId node = index_.Find(object);
      if (node == heap::kNoNode || !missing_.IsPositive(node) ||
          !MayLiveOnStack(node))
        continue;
      missing_.Decrement(node);
      flags_[node] |= heap::kHeldByFrame;
      frames_.references.push_back({object, frame, true, node});
    }
  }
}

/// Takes a word for a reference as long as the object lacks one.
class HeapWalk::RootTaker : public RootVisitor {
 public:
  explicit RootTaker(HeapWalk& walk) : walk_(walk) {}
  uint32_t NumberOf(std::string_view path) override {
    return walk_.strings_.Intern(path.substr(path.rfind('/') + 1));
  }
  void OnWord(const RootWord& word) override {
    NodeId node = walk_.index_.Find(word.object);
    if (node == heap::kNoNode || walk_.missing_.IsUncounted(node) ||
        !walk_.missing_.IsPositive(node))
      return;
    walk_.missing_.Decrement(node);
    walk_.flags_[node] |= heap::kNamedRoot;
    walk_.roots_.push_back({node, word.kind, word.of});
  }

 private:
  HeapWalk& walk_;
};

void HeapWalk::FindRoots() {
  uintptr_t lowest = ~uintptr_t{0};
  uintptr_t highest = 0;
  for (NodeId node = 0; node < node_count(); ++node) {
    auto address = reinterpret_cast<uintptr_t>(object(node));
    lowest = std::min(lowest, address);
    highest = std::max(highest, address);
  }
  RootTaker taker(*this);
  ScanRoots(runtime_, module_data_, lowest, highest, &arena_, taker);
}

void HeapWalk::ListModules() {
  DictEntries entries = EntriesOfDict(*runtime_.layout, runtime_.modules);
  for (int64_t i = 0; i < entries.count; ++i) {
    if (entries.key(i) == nullptr || entries.value(i) == nullptr) continue;
    NodeId node = index_.Find(entries.value(i));
    if (node != heap::kNoNode &&
        types_[type_ids_[node]].kind == TypeKind::kModule)
      modules_.push_back(node);
  }
}

void HeapWalk::DrawUpAccount() {
  account_.explained = account_.counted;
  for (NodeId node = 0; node < node_count(); ++node) {
    if (missing_.IsZero(node)) continue;
    if (missing_.IsPositive(node)) flags_[node] |= heap::kHeldOutside;
    if (missing_.IsUncounted(node)) continue;
    int64_t missing = missing_.Of(node);
    if (missing > 0) account_.explained -= uint64_t(missing);
    account_.exceptions.push_back({node, missing});
  }
}

void HeapWalk::PutLeavesLast() {
  index_.KeepAddresses(order_);
  type_ids_.Change([this](auto& column) { order_.Reorder(column); });
  order_.Reorder(flags_);
  sizes_.Reorder(order_);
  for (size_t i = 0; i < edges_.size(); ++i)
    edges_[i] = edges_[i].To(order_.Of(edges_[i].referent()));
  for (Root& root : roots_) root.node = order_.Of(root.node);
  for (NodeId& module : modules_) module = order_.Of(module);
  for (FrameReference& reference : frames_.references)
    if (reference.node != heap::kNoNode)
      reference.node = order_.Of(reference.node);
  for (auto& exception : account_.exceptions)
    exception.node = order_.Of(exception.node);
  std::sort(account_.exceptions.begin(), account_.exceptions.end(),
            [](const auto& a, const auto& b) { return a.node < b.node; });
  for (int i = 0; i < 3; ++i)
    generation_rows_[i] = order_.RowsBefore(generation_end_[i]);
  order_.Clear();
}

int HeapWalk::GenerationOf(NodeId node) const {
  NodeId row_count = order_.row_count();
  for (int i = 0; i < 3; ++i) {
    NodeId leaves = generation_end_[i] - generation_rows_[i];
    if (node < row_count ? node < generation_rows_[i]
                         : node - row_count < leaves)
      return i;
  }
  return -1;
}

int64_t HeapWalk::Unexplained(NodeId node) const {
  const auto& exceptions = account_.exceptions;
  auto at =
      std::lower_bound(exceptions.begin(), exceptions.end(), node,
                       [](const Account::Exception& exception, NodeId wanted) {
                         return exception.node < wanted;
                       });
  return at == exceptions.end() || at->node != node ? 0 : at->unexplained;
}

int HeapWalk::FrameHolding(NodeId node) const {
  for (const FrameReference& reference : frames_.references)
    if (reference.node == node) return static_cast<int>(reference.frame);
  return -1;
}

}  // namespace inspector
