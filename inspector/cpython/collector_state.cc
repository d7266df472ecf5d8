#include "inspector/cpython/collector_state.h"

#include <algorithm>

namespace inspector {

int64_t CollectorState::needs_survivors() const {
  return std::max<int64_t>(0, long_lived_total / 4 - long_lived_pending);
}

int64_t CollectorState::needs_gen1_collections() const {
  return std::max<int64_t>(0, int64_t{thresholds[2]} + 1 - counts[2]);
}

double CollectorState::nearness_of_full() const {
  if (is_off()) return 0;
  auto share = [](int64_t needs, int64_t of) {
    return needs == 0 ? 1 : 1 - static_cast<double>(needs) / double(of);
  };
  return std::min(share(needs_survivors(), long_lived_total / 4),
                  share(needs_gen1_collections(), int64_t{thresholds[2]} + 1));
}

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
