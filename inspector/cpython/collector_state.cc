#include "inspector/cpython/collector_state.h"

namespace inspector {

CollectorState ReadCollectorState(const Runtime& runtime) {
  const Layout& layout = *runtime.layout;
  const char* head = runtime.generation0;
  int shift = runtime.gc_shift();
  CollectorState state;
  state.enabled = Read<int>(head, runtime.gc_enabled) != 0;
  for (int i = 0; i < 3; ++i) {
    const char* generation = head + i * layout.gc_generation_size;
    state.thresholds[i] = Read<int>(generation, layout.gc_threshold);
    state.counts[i] = Read<int>(generation, layout.gc_threshold + 4);
    const char* stats = head + layout.gc_stats + shift + 24 * i;
    state.stats[i] = {Read<int64_t>(stats, 0), Read<int64_t>(stats, 8),
                      Read<int64_t>(stats, 16)};
  }
  state.long_lived_total =
      Read<int64_t>(head, layout.gc_long_lived_total + shift);
  state.long_lived_pending =
      Read<int64_t>(head, layout.gc_long_lived_pending + shift);
  return state;
}

}  // namespace inspector
