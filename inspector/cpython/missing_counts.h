#pragma once

#include <algorithm>
#include <cstdint>

#include "inspector/graph/arena.h"
#include "inspector/graph/heap_graph.h"
#include "inspector/graph/sparse_column.h"

namespace inspector {

/// By node: counted references that have not been found yet, as gc_refs in
/// CPython's collector; negative once more were found than there are. A byte
/// each, since most are small: the low digits to base 64, and a mark where the
/// rest is kept apart, which is then touched at every 64th reference only.
class MissingCounts {
 public:
  explicit MissingCounts(heap::Arena& arena) : low_(arena), high_(&arena) {}

  /// For the next node.
  void Add(int64_t count) {
    if (count < kBase) return low_.push_back(uint8_t(count));
    auto node = static_cast<heap::NodeId>(low_.size());
    low_.push_back(uint8_t(kHasHigh | count % kBase));
    high_[Key(node)] = count / kBase;
  }
  /// An immortal object: nobody counts its references, and none is missed.
  void AddUncounted() { low_.push_back(kUncounted); }

  void Decrement(heap::NodeId node) {
    uint8_t& low = low_[node];
    if ((low & kDigits) != 0)
      --low;
    else if (low != kUncounted)
      Carry(node, -1);
  }
  void Increment(heap::NodeId node) {
    uint8_t& low = low_[node];
    if (low == kUncounted) return;
    if ((low & kDigits) != kDigits)
      ++low;
    else
      Carry(node, 1);
  }

  bool IsUncounted(heap::NodeId node) const { return low_[node] == kUncounted; }
  bool IsZero(heap::NodeId node) const { return low_[node] == 0; }
  /// Uncounted ones never run out.
  bool IsPositive(heap::NodeId node) const {
    uint8_t low = low_[node];
    return (low & kHasHigh) == 0 ? low != 0 : high_.Find(Key(node)) > 0;
  }
  /// Not for uncounted ones.
  int64_t Of(heap::NodeId node) const {
    uint8_t low = low_[node];
    return (low & kDigits) +
           ((low & kHasHigh) == 0 ? 0 : high_.Find(Key(node)) * kBase);
  }
  void Prefetch(heap::NodeId node) const {
    __builtin_prefetch(low_.data() + node, 1);
  }
  void Clear() { low_.Clear(); }

 private:
  static constexpr int64_t kBase = 64;
  static constexpr uint8_t kDigits = kBase - 1;
  static constexpr uint8_t kHasHigh = 0x40;
  static constexpr uint8_t kUncounted = 0x80;

  static uint64_t Key(heap::NodeId node) { return uint64_t{node} + 1; }

  [[gnu::noinline]] void Carry(heap::NodeId node, int by) {
    int64_t high = high_[Key(node)] += by;
    low_[node] = uint8_t((by < 0 ? kDigits : 0) | (high != 0 ? kHasHigh : 0));
  }

  heap::Column<uint8_t> low_;
  heap::SparseColumn<int64_t> high_;  // Never 0 where the mark is set.
};

}  // namespace inspector
