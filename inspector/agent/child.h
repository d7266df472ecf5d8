#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "inspector/cpython/runtime.h"

namespace inspector {

/// One snapshot: a child made by a raw clone while the GIL is held walks its
/// copy of the heap and leaves its findings in memory shared with us.
struct ChildSnapshot {
  std::string error;    // Empty: it went well.
  std::string members;  // As in HeapSections.
  std::string functions;
  std::string limits;
  int64_t live_bytes = 0;
  int64_t floating_bytes = 0;
  int64_t gil_wait_us = 0;
  int64_t pause_us = 0;
  int64_t child_ms = 0;
  int64_t child_peak_bytes = -1;  // Here and below -1: could not be read.
  int64_t cow_bytes = -1;
  bool aborted = false;  // We were told to stop meanwhile.
};

/// Takes it, on the calling (native) thread. Takes the GIL for the clone alone;
/// `stop` becoming true ends the child. `ids_descriptor`: see HeapQuestion.
///
/// CPython <= 3.13 ends a thread that waits for the GIL at shutdown by forced
/// unwinding: no caller of this may be noexcept or catch everything, or the
/// process would abort.
ChildSnapshot TakeChildSnapshot(const Runtime& runtime,
                                const std::vector<std::string>& watch,
                                int ids_descriptor, double deadline_seconds,
                                const std::atomic<bool>& stop);

int64_t MonotonicMicroseconds();

}  // namespace inspector
