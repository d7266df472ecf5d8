#include "inspector/agent/heap_export.h"

#include <poll.h>

#include <algorithm>

#include "inspector/agent/child.h"
#include "inspector/cpython/code.h"
#include "inspector/cpython/sizes.h"

namespace inspector {
namespace {

using heap::NodeId;
using heap::RecordedKind;
using heap::RecordedRoot;
using heap::SectionKind;

static_assert(int(TypeKind::kOther) == int(RecordedKind::kOther) &&
              int(TypeKind::kType) == int(RecordedKind::kType) &&
              int(TypeKind::kModule) == int(RecordedKind::kModule) &&
              int(TypeKind::kFunction) == int(RecordedKind::kFunction) &&
              int(TypeKind::kFrame) == int(RecordedKind::kFrame) &&
              int(TypeKind::kTraceback) == int(RecordedKind::kTraceback) &&
              int(TypeKind::kDict) == int(RecordedKind::kDict) &&
              int(TypeKind::kCode) == int(RecordedKind::kCode) &&
              int(TypeKind::kGenerator) == int(RecordedKind::kGenerator));

class Export {
 public:
  Export(const RecordedHeap& recorded, heap::HeapFileWriter& writer)
      : heap_(recorded), writer_(writer) {}

  void Run() {
    WriteNodes();
    WriteTypes();
    WriteLabels();
    WriteRoots();
    heap::WriteStrings(writer_, heap_.strings);  // Last: all are known now.
  }

 private:
  /// What heap::WriteColumns asks of each node.
  struct Nodes {
    const RecordedHeap& heap;
    EdgeNamer namer;

    uintptr_t AddressOf(NodeId node) const {
      return reinterpret_cast<uintptr_t>(heap.walk.object(node));
    }
    TypeId TypeOf(NodeId node) const { return heap.walk.type(node); }
    uint64_t SizeOf(NodeId node) const { return heap.walk.size(node); }
    uint32_t CountOf(NodeId node) const {
      const PyObject* object = heap.walk.object(node);
      if (IsImmortal(heap.runtime, object)) return heap::kImmortalCount;
      return static_cast<uint32_t>(
          std::clamp<int64_t>(RefCount(heap.runtime, object), 0, 0xfffffffe));
    }
    template <typename Put>
    void NamesOf(NodeId node, Put put) {
      for (heap::EdgeName name : namer.NamesOf(node)) put(name);
    }
  };

  void WriteNodes() {
    const HeapWalk& walk = heap_.walk;
    heap::WriteColumns(
        writer_, {walk.flags(), heap_.states.of, heap_.never, walk.graph()},
        Nodes{heap_, EdgeNamer(heap_.runtime, walk, heap_.types, heap_.strings,
                               heap_.memory)});
  }

  void WriteTypes() {
    const TypeTable& types = heap_.types;
    std::pmr::vector<heap::StringId> classes(heap_.memory);
    writer_.Begin(SectionKind::kTypes, sizeof(heap::TypeRecord));
    for (TypeId id = 0; id < types.size(); ++id) {
      const TypeInfo& info = types[id];
      heap::TypeRecord type = {};
      type.name = info.name;
      type.label = info.label;
      type.kind = static_cast<uint32_t>(info.kind);
      type.flags = (info.watched ? heap::kTypeWatched : 0) |
                   (info.is_builtin ? 0 : heap::kTypeOfProgram);
      type.first_class = static_cast<uint32_t>(classes.size());
      types.ForEachClassName(id, [&](std::string_view name) {
        classes.push_back(heap_.strings.Intern(name));
        return true;
      });
      type.class_count =
          static_cast<uint32_t>(classes.size()) - type.first_class;
      writer_.Put(type);
    }
    writer_.End();
    writer_.PutSection<heap::StringId>(SectionKind::kClassNames, classes);
  }

  void WriteLabels() {
    const HeapWalk& walk = heap_.walk;
    writer_.Begin(SectionKind::kLabels, sizeof(heap::LabelRecord));
    for (NodeId node = 0; node < walk.node_count(); ++node) {
      switch (heap_.types[walk.type(node)].kind) {
        case TypeKind::kFrame:
        case TypeKind::kTraceback:
        case TypeKind::kGenerator:
        case TypeKind::kModule:
        case TypeKind::kType:
          writer_.Put(LabelOf(node));
          break;
        default:
          break;
      }
    }
    writer_.End();
  }

  heap::LabelRecord LabelOf(NodeId node) {
    const Layout& layout = *heap_.runtime.layout;
    const PyObject* object = heap_.walk.object(node);
    TypeKind kind = heap_.types[heap_.walk.type(node)].kind;
    heap::LabelRecord label = {};
    label.node = node;
    label.label = heap_.labels.LabelOf(node);
    const PyObject* code = nullptr;
    int line = 0;
    if (kind == TypeKind::kFrame) {
      code = CodeOfFrame(layout, object);
      line = LineOfFrame(layout, object);
    } else if (kind == TypeKind::kTraceback) {
      const PyObject* frame = ReadObject(object, layout.traceback_frame);
      if (frame != nullptr) {
        code = CodeOfFrame(layout, frame);
        line = LineOfTraceback(layout, object);
      }
    } else if (kind == TypeKind::kGenerator) {
      code = CodeOfGenerator(layout, object);
      line = LineOfGenerator(layout, object);
    }
    if (code == nullptr) return label;  // Cleared, or it has none.
    label.function = heap_.labels.NamesOf(code).function;
    label.line = static_cast<uint32_t>(std::max(line, 0));
    return label;
  }

  void PutRoot(NodeId node, RecordedRoot kind, heap::StringId name) {
    writer_.Put(heap::RootRecord{node, static_cast<uint32_t>(kind), name});
  }

  void WriteRoots() {
    const HeapWalk& walk = heap_.walk;
    writer_.Begin(SectionKind::kRoots, sizeof(heap::RootRecord));
    for (NodeId node : walk.modules())
      PutRoot(node, RecordedRoot::kModule, heap_.labels.LabelOf(node));
    for (const Root& root : walk.roots())
      PutRoot(root.node, KindOf(root.kind), heap_.holders.NameOf(root));
    for (const FrameReference& reference : walk.frames().references) {
      NodeId node = reference.node;
      if (node == heap::kNoNode ||
          (walk.flags()[node] & heap::kHeldByFrame) == 0)
        continue;
      PutRoot(node, RecordedRoot::kFrame, heap_.holders.NameOf(reference));
    }
    for (NodeId node = 0; node < walk.node_count(); ++node) {
      if ((walk.flags()[node] & heap::kHeldOutside) == 0) continue;
      heap::StringId name = heap_.holders.NameOfOutside(node);
      if (name != 0) PutRoot(node, RecordedRoot::kOutside, name);
    }
    writer_.End();
  }

  static RecordedRoot KindOf(RootKind kind) {
    switch (kind) {
      case RootKind::kInterpreter:
        return RecordedRoot::kInterpreter;
      case RootKind::kThread:
        return RecordedRoot::kThread;
      case RootKind::kAtExit:
        return RecordedRoot::kAtExit;
      case RootKind::kStatic:
        break;
    }
    return RecordedRoot::kStatic;
  }

  const RecordedHeap& heap_;
  heap::HeapFileWriter& writer_;
};

struct Patience {
  int64_t deadline_us;
  const std::atomic<bool>* stop;
};

/// As HeapFileWriter::WriteAll, but never stuck: a pipe that polls writable
/// takes PIPE_BUF bytes at once (pipe(7)).
bool WritePatiently(void* context, int descriptor, const char* bytes,
                    size_t size) {
  const auto& patience = *static_cast<const Patience*>(context);
  constexpr size_t kAtOnce = 4096;
  constexpr int kPollMs = 50;
  while (size > 0) {
    pollfd wait = {descriptor, POLLOUT, 0};
    int ready = poll(&wait, 1, kPollMs);
    if (patience.stop->load() ||
        MonotonicMicroseconds() > patience.deadline_us ||
        (ready > 0 && (wait.revents & POLLOUT) == 0))
      return false;
    if (ready <= 0) continue;
    size_t part = std::min(size, kAtOnce);
    if (!heap::HeapFileWriter::WriteAll(nullptr, descriptor, bytes, part))
      return false;
    bytes += part;
    size -= part;
  }
  return true;
}

}  // namespace

bool WriteHeapFile(const RecordedHeap& recorded, int descriptor,
                   heap::HeapFileProgress& progress) {
  heap::HeapFileWriter writer(descriptor);
  Export(recorded, writer).Run();
  bool written = writer.Pause();
  progress = writer.progress();
  return written;
}

bool EndHeapFile(int descriptor, const heap::HeapFileProgress& progress,
                 std::string_view report, int64_t deadline_us,
                 const std::atomic<bool>& stop) {
  Patience patience = {deadline_us, &stop};
  heap::HeapFileWriter writer(descriptor, progress, WritePatiently, &patience);
  writer.PutSection<char>(SectionKind::kReport, report);
  return writer.Finish();
}

}  // namespace inspector
