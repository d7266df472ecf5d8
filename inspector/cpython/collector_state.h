#pragma once

#include "inspector/cpython/runtime.h"

namespace inspector {

/// The figures of this process's own collector, read from `_gc_runtime_state`
/// (Include/internal/pycore_gc.h, 3.11 … 3.14). Plain words: may be read
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

  /// No collection comes by itself.
  bool is_off() const { return !enabled || thresholds[0] == 0; }
  /// What the next full collection waits for, 0 once there is enough: survivors
  /// worth a quarter of the old heap, and collections of generation 1 beyond
  /// its own threshold (Modules/gcmodule.c, 3.11, gc_collect_generations).
  int64_t needs_survivors() const;
  int64_t needs_gen1_collections() const;
  /// How much of both there is, the lesser share: 0 … 1.
  double nearness_of_full() const;
};

CollectorState ReadCollectorState(const Runtime& runtime);

}  // namespace inspector
