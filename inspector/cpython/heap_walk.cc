#include "inspector/cpython/heap_walk.h"

#include <algorithm>

#include "inspector/cpython/sizes.h"

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
      index_(arena),
      objects_(arena),
      type_ids_(arena),
      referrers_(arena),
      flags_(arena),
      first_edge_(arena),
      edges_(arena),
      frames_(&arena),
      roots_(&arena),
      modules_(&arena),
      account_(&arena) {}

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
    for (NodeId node = 0; node < end; ++node) {
      PyObject* object = objects_[node];
      if (IsImmortal(runtime_, object) || RefCount(object) > referrers_[node])
        flags_[node] |= flag;
    }
  };
  mark_roots(tracked_count(), heap::kCollectorRoot);
  TraverseUpTo(frozen_end_);
  mark_roots(frozen_end_, heap::kPermanentRoot);
  CountNativeReferences(frozen_end_);
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
}

void HeapWalk::AddList(const char* head) {
  // Bits 0 and 1 of _gc_next are marks; _gc_prev is not a link at all times.
  auto next = [](const char* gc) {
    return reinterpret_cast<const char*>(Read<uintptr_t>(gc, 0) &
                                         ~uintptr_t{3});
  };
  for (const char* gc = next(head); gc != head && gc != nullptr; gc = next(gc))
    FindOrAdd(reinterpret_cast<PyObject*>(const_cast<char*>(gc) + kGcHeadSize));
}

NodeId HeapWalk::FindOrAdd(PyObject* object) {
  uint32_t& slot = index_.Slot(object);
  if (slot != 0) return slot - 1;
  NodeId node = node_count();
  if (node + 1 >= heap::kNoNode) arena_.Exhaust();
  slot = node + 1;
  objects_.push_back(object);
  type_ids_.push_back(types_.Find(TypeOf(object)));
  referrers_.push_back(0);
  flags_.push_back(0);
  return node;
}

void HeapWalk::TraverseUpTo(NodeId end) {
  for (; next_ < end; ++next_) Traverse(next_);
}

void HeapWalk::Traverse(NodeId node) {
  first_edge_.push_back(static_cast<uint32_t>(edges_.size()));
  const TypeInfo& type = types_[type_ids_[node]];
  PyObject* object = objects_[node];
  NativeReferences native = type.native;
  const Layout& layout = *runtime_.layout;
  if (native == NativeReferences::kDict &&
      IsInternedTable(EntriesOfDict(layout, object)))
    return;
  if (type.traverse == nullptr || !IsCollectable(runtime_, object))
    return VisitNative(node, native);
  visited_ = object;
  visited_kind_ = type.kind;
  visited_cut_ = nullptr;
  if (type.kind == TypeKind::kFunction)
    visited_cut_ = ReadObject(object, layout.function_globals);
  else if (type.kind == TypeKind::kFrame)
    visited_cut_ = ReadObject(object, layout.frame_back);
  traversing_ = type_ids_[node];
  type.traverse(object, &HeapWalk::Visit, this);
  traversing_ = kNotTraversing;
  VisitNative(node, native);
  if (edges_.size() > 0xfffffff0) arena_.Exhaust();
}

void HeapWalk::VisitNative(NodeId node, NativeReferences kind) {
  if (kind == NativeReferences::kNone) return;
  ForEachNativeReference(runtime_, objects_[node], kind,
                         [this](PyObject* referent, const ReferenceName&) {
                           NodeId to = FindOrAdd(referent);
                           if (counts_native_) ++referrers_[to];
                           edges_.push_back(Edge::Native(to));
                         });
}

void HeapWalk::CountNativeReferences(NodeId end) {
  size_t last = end < first_edge_.size() ? first_edge_[end] : edges_.size();
  for (size_t i = 0; i < last; ++i)
    if (edges_[i].native()) ++referrers_[edges_[i].referent()];
}

bool HeapWalk::IsCut(PyObject* referent, TypeKind referent_kind) const {
  return referent_kind == TypeKind::kType ||
         referent_kind == TypeKind::kModule ||
         visited_kind_ == TypeKind::kModule ||
         visited_kind_ == TypeKind::kType || referent == visited_cut_;
}

int HeapWalk::Visit(PyObject* referent, void* argument) noexcept {
  auto& walk = *static_cast<HeapWalk*>(argument);
  NodeId node = walk.FindOrAdd(referent);
  ++walk.referrers_[node];
  walk.edges_.push_back(
      Edge(node, walk.IsCut(referent, walk.types_[walk.type_ids_[node]].kind)));
  return 0;
}

void HeapWalk::CountFrameReferences() {
  for (const FrameReference& reference : frames_.references) {
    NodeId node = index_.Find(reference.object);
    if (node == heap::kNoNode || objects_[node] != reference.object) continue;
    bool unexplained = RefCount(reference.object) > referrers_[node];
    if (reference.candidate && !unexplained) continue;
    ++referrers_[node];
    flags_[node] |= heap::kHeldByFrame;
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
      if (node == heap::kNoNode || objects_[node] != object ||
          RefCount(object) <= referrers_[node] || !MayLiveOnStack(node))
        continue;
      ++referrers_[node];
      flags_[node] |= heap::kHeldByFrame;
      frames_.references.push_back({object, frame, true});
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
    if (node == heap::kNoNode || walk_.objects_[node] != word.object ||
        walk_.Unexplained(node) <= 0)
      return;
    ++walk_.referrers_[node];
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
    auto address = reinterpret_cast<uintptr_t>(objects_[node]);
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

int64_t HeapWalk::Unexplained(NodeId node) const {
  const PyObject* object = objects_[node];
  if (IsImmortal(runtime_, object)) return 0;
  return RefCount(object) - int64_t(referrers_[node]);
}

void HeapWalk::DrawUpAccount() {
  for (NodeId node = 0; node < node_count(); ++node) {
    PyObject* object = objects_[node];
    if (IsImmortal(runtime_, object)) {
      flags_[node] |= heap::kHeldOutside;
      continue;
    }
    int64_t counted = RefCount(object);
    int64_t found = referrers_[node];
    account_.counted += uint64_t(counted);
    account_.explained += uint64_t(std::min(counted, found));
    if (counted == found) continue;
    if (counted > found) flags_[node] |= heap::kHeldOutside;
    account_.exceptions.push_back({node, counted - found});
  }
}

int HeapWalk::GenerationOf(NodeId node) const {
  for (int i = 0; i < 3; ++i)
    if (node < generation_end_[i]) return i;
  return -1;
}

int HeapWalk::FrameHolding(NodeId node) const {
  for (const FrameReference& reference : frames_.references)
    if (reference.object == objects_[node])
      return static_cast<int>(reference.frame);
  return -1;
}

}  // namespace inspector
