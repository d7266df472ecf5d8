#pragma once

#include <memory_resource>
#include <vector>

#include "inspector/cpython/object.h"
#include "inspector/graph/heap_graph.h"

namespace inspector {

/// A reference that a running function holds.
struct FrameReference {
  PyObject* object = nullptr;
  uint32_t frame = 0;  // Index into RunningFrames::frames.
  /// Found on an evaluation stack whose depth is unknown (3.11 … 3.13, in a C
  /// call): counts only where the object lacks an explanation.
  bool candidate = false;
  heap::NodeId node = heap::kNoNode;  // Set by the walk, if it is in the graph.
};

struct RunningFrame {
  uint64_t native_thread_id = 0;
  const char* iframe = nullptr;
};

/// The running frames of all threads of our interpreter and what they hold:
/// locals, cells, evaluation stack, function, code, frame object, and the
/// exception that a thread handles.
struct RunningFrames {
  explicit RunningFrames(std::pmr::memory_resource* memory)
      : frames(memory), references(memory) {}
  std::pmr::vector<RunningFrame> frames;
  std::pmr::vector<FrameReference> references;
};

/// Facts: Include/internal/pycore_frame.h, Python/ceval.c, Python/frame.c
/// (_PyFrame_Traverse), 3.11 … 3.13. What a suspended or running generator
/// holds comes from its own tp_traverse and is not repeated here, but for the
/// locals of one that is inside a C call, which that leaves out.
RunningFrames FindRunningFrames(const Runtime& runtime,
                                std::pmr::memory_resource* memory);

}  // namespace inspector
