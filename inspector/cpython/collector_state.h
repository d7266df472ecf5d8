#pragma once

#include "inspector/cpython/runtime.h"

namespace inspector {

/// The figures of this process's own collector, read from `_gc_runtime_state`
/// (Include/internal/pycore_gc.h, 3.11 … 3.13). Plain words: may be read
/// without the GIL, each is then of its own moment.
struct CollectorState {
  struct Generation {
    int64_t collections = 0;
    int64_t collected = 0;
    int64_t uncollectable = 0;
  };
  bool enabled = false;
  int thresholds[3] = {};
  int counts[3] = {};
  Generation stats[3];
  int64_t long_lived_total = 0;
  int64_t long_lived_pending = 0;
};

CollectorState ReadCollectorState(const Runtime& runtime);

}  // namespace inspector
