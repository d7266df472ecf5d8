#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "inspector/cpython/py_ref.h"

namespace inspector {

/// The requests that change something, answered where CYCLESCOPE_ALLOW names
/// them. On the agent's thread.

/// gc.collect(), whose finalizers then run on our thread. As in every wait for
/// the GIL, the thread may end inside by forced unwinding (TakeChildSnapshot).
std::string CollectRequest();

/// malloc_trim(0), without the GIL; it takes each malloc arena's lock.
std::string TrimRequest();

/// What the collector itself calls garbage, for the test of what we call so.
/// Lives with the GIL held; made before the snapshot that it is compared with.
class GarbageOracle {
 public:
  GarbageOracle();
  ~GarbageOracle();
  GarbageOracle(const GarbageOracle&) = delete;
  /// The addresses that a collection under DEBUG_SAVEALL puts into gc.garbage.
  /// They are garbage again afterwards.
  std::vector<uintptr_t> Collect();

 private:
  PyRef gc_;
  PyRef garbage_;
  PyRef callbacks_;
  PyRef taken_out_;  // Callbacks may run code, and let go of the GIL.
  long debug_ = 0;
};

}  // namespace inspector
