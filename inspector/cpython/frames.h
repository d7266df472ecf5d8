#pragma once

#include <memory_resource>
#include <vector>

#include "inspector/cpython/code.h"
#include "inspector/graph/heap_graph.h"

namespace inspector {

/// A reference that a running function holds.
struct FrameReference {
  PyObject* object = nullptr;
  uint32_t frame = 0;  // Index into RunningFrames::frames.
  /// Found on an evaluation stack whose depth is unknown (3.11 … 3.13, in a C
  /// call): counts only where the object lacks an explanation.
  bool candidate = false;
  /// Set by the walk where the reference counts and its object is in the graph.
  heap::NodeId node = heap::kNoNode;
};

struct RunningFrame {
  uint64_t native_thread_id = 0;
  const char* iframe = nullptr;
};

/// The running frames of all threads of our interpreter and what they hold:
/// locals, cells, evaluation stack, function, code, frame object, and the
/// exception that a thread handles. References that a frame has only borrowed
/// (3.14+) are left out.
struct RunningFrames {
  explicit RunningFrames(std::pmr::memory_resource* memory)
      : frames(memory), references(memory) {}
  std::pmr::vector<RunningFrame> frames;
  std::pmr::vector<FrameReference> references;
};

/// Facts: Include/internal/pycore_frame.h, Python/ceval.c, Python/frame.c
/// (_PyFrame_Traverse), 3.11 … 3.14. What a suspended or running generator
/// holds comes from its own tp_traverse and is not repeated here, but for the
/// locals of one that is inside a C call, which that leaves out.
RunningFrames FindRunningFrames(const Runtime& runtime,
                                std::pmr::memory_resource* memory);

/// How many slots from `localsplus` on the frame uses: locals, cells and what
/// is on its evaluation stack; -1 if only the locals are known.
inline int64_t UsedSlots(const Layout& layout, const char* iframe) {
  auto top = static_cast<ptrdiff_t>(layout.iframe_stacktop);
  if (!layout.iframe_has_stack_pointer) return Read<int>(iframe, top);
  return (ReadPointer(iframe, top) - (iframe + layout.iframe_localsplus)) / 8;
}

/// Calls `visit(PyObject*)` for each reference that the tp_traverse of a
/// generator names although its frame does not count it. 3.14+, while it runs.
template <typename Visit>
void ForEachUncounted(const Layout& layout, const PyObject* generator,
                      Visit visit) {
  if (!layout.iframe_has_stack_pointer || !HasFrame(layout, generator)) return;
  const char* iframe = FrameOfGenerator(layout, generator);
  auto visit_slot = [&](size_t offset) {
    FrameSlot slot = ReadSlot(iframe, ptrdiff_t(offset));
    if (slot.object != nullptr && !slot.counted) visit(slot.object);
  };
  visit_slot(layout.iframe_code);
  visit_slot(layout.iframe_function);
  for (int64_t i = 0; i < UsedSlots(layout, iframe); ++i)
    visit_slot(layout.iframe_localsplus + 8 * size_t(i));
}

}  // namespace inspector
