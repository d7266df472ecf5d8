#include "inspector/cpython/frames.h"

namespace inspector {
namespace {

// Guards against a list that another thread is changing: threads enter and
// leave it under a lock that a snapshot cannot take.
constexpr int kMostThreads = 100000;
constexpr int kMostFrames = 1000000;

enum FrameOwner : char {
  kOwnedByThread = 0,
  kOwnedByGenerator = 1,
  kOwnedByFrameObject = 2,
  kOwnedByInterpreter = 3,  // 3.12+, and 4 in 3.14: a shim, nothing in it.
};

class Finder {
 public:
  Finder(const Runtime& runtime, RunningFrames& found)
      : layout_(*runtime.layout), found_(found) {}

  void AddThread(const char* thread) {
    uint64_t id = Read<uint64_t>(thread, layout_.thread_native_id);
    const char* iframe = ReadPointer(thread, layout_.thread_frame);
    if (layout_.frame_behind_cframe && iframe != nullptr)
      iframe = ReadPointer(iframe, layout_.cframe_current_frame);
    size_t first = found_.frames.size();
    for (int i = 0; iframe != nullptr && i < kMostFrames; ++i) {
      char owner = Read<char>(iframe, layout_.iframe_owner);
      if (owner < kOwnedByInterpreter) AddFrame(id, iframe, owner);
      iframe = ReadPointer(iframe, layout_.iframe_previous);
    }
    if (found_.frames.size() == first) return;
    auto top = static_cast<uint32_t>(first);
    Add(ReadObject(thread, layout_.thread_exc_state), top);
    Add(ReadObject(thread, layout_.thread_exception), top);
    // 3.11 has type, value and traceback apart: the chain being built.
    if (layout_.minor == 11)
      Add(ReadObject(thread, layout_.thread_exception + 8), top);
  }

 private:
  void AddFrame(uint64_t thread_id, const char* iframe, char owner) {
    auto index = static_cast<uint32_t>(found_.frames.size());
    found_.frames.push_back({thread_id, iframe});
    const PyObject* code = CodeOf(layout_, iframe);
    int64_t depth = UsedSlots(layout_, iframe);
    bool by_traverse = owner == kOwnedByGenerator;
    if (!by_traverse) {
      AddSlot(iframe, layout_.iframe_code, index);
      AddSlot(iframe, layout_.iframe_function, index);
      Add(ReadObject(iframe, layout_.iframe_locals), index);
      Add(ReadObject(iframe, layout_.iframe_object), index);
    }
    if (code == nullptr || (by_traverse && depth >= 0)) return;
    int locals = Read<int>(code, layout_.code_locals_count);
    int stack = Read<int>(code, layout_.code_stack_size);
    int64_t known = depth >= 0 ? depth : locals;
    auto place = [this](int64_t i) {
      return layout_.iframe_localsplus + 8 * size_t(i);
    };
    for (int64_t i = 0; i < known; ++i) AddSlot(iframe, place(i), index);
    if (depth >= 0) return;
    for (int64_t i = locals; i < locals + stack; ++i)
      AddSlot(iframe, place(i), index, /*candidate=*/true);
  }

  void AddSlot(const char* iframe, size_t offset, uint32_t frame,
               bool candidate = false) {
    FrameSlot slot = ReadSlot(iframe, ptrdiff_t(offset));
    if (slot.counted) Add(slot.object, frame, candidate);
  }

  void Add(PyObject* object, uint32_t frame, bool candidate = false) {
    if (object != nullptr)
      found_.references.push_back({object, frame, candidate});
  }

  const Layout& layout_;
  RunningFrames& found_;
};

}  // namespace

RunningFrames FindRunningFrames(const Runtime& runtime,
                                std::pmr::memory_resource* memory) {
  RunningFrames found(memory);
  Finder finder(runtime, found);
  void* thread = runtime.thread_head(runtime.interpreter);
  for (int i = 0; thread != nullptr && i < kMostThreads; ++i) {
    finder.AddThread(static_cast<const char*>(thread));
    thread = runtime.thread_next(thread);
  }
  return found;
}

}  // namespace inspector
