#pragma once

#include "inspector/graph/arena.h"
#include "inspector/graph/heap_graph.h"

namespace inspector {

/// From an object's address to its node. Objects are at least 16 bytes long,
/// so two never share the same 16-byte slot of memory: the index is a shadow of
/// the heap with four bytes per slot, in tables of one MiB of heap each, and
/// the kernel gives memory only for the pages that are touched. Compared with a
/// hash table: as dense on a packed heap, no probing, and neighbours in the
/// heap are neighbours here.
class NodeIndex {
 public:
  explicit NodeIndex(heap::Arena& arena)
      : arena_(arena),
        slots_(arena.Reserve(kReservedBytes)),
        regions_(1024, Region{}, &arena) {
    if (slots_ == nullptr) arena.Exhaust();
  }

  /// Where the node of `address` is kept, plus one; zero if there is none yet.
  uint32_t& Slot(const void* address) {
    auto word = reinterpret_cast<uintptr_t>(address);
    uint32_t* table = TableOf(word >> kRegionBits);
    return table[(word >> 4) & (kSlotsPerTable - 1)];
  }

  /// `address` may be any word: no table is made for it.
  heap::NodeId Find(const void* address) const {
    auto word = reinterpret_cast<uintptr_t>(address);
    const uint32_t* table = regions_[PlaceOf(word >> kRegionBits)].table;
    uint32_t slot =
        table == nullptr ? 0 : table[(word >> 4) & (kSlotsPerTable - 1)];
    return slot == 0 ? heap::kNoNode : slot - 1;
  }

 private:
  static constexpr int kRegionBits = 20;
  static constexpr size_t kSlotsPerTable = size_t{1} << (kRegionBits - 4);
  static constexpr size_t kReservedBytes = size_t{1} << 38;

  struct Region {
    uintptr_t number = 0;
    uint32_t* table = nullptr;
  };

  uint32_t* TableOf(uintptr_t number) {
    if (number == last_.number && last_.table != nullptr) return last_.table;
    size_t at = PlaceOf(number);
    if (regions_[at].table == nullptr) {
      if (++count_ * 2 > regions_.size()) {
        Rehash();
        --count_;
        return TableOf(number);
      }
      arena_.Charge(kSlotsPerTable * sizeof(uint32_t));
      regions_[at] = {number, static_cast<uint32_t*>(slots_) +
                                  (count_ - 1) * kSlotsPerTable};
    }
    last_ = regions_[at];
    return last_.table;
  }

  /// Where the region is, or would be.
  size_t PlaceOf(uintptr_t number) const {
    size_t mask = regions_.size() - 1;
    size_t at = Mix(number) & mask;
    while (regions_[at].table != nullptr && regions_[at].number != number)
      at = (at + 1) & mask;
    return at;
  }

  static size_t Mix(uintptr_t number) {
    return (number * 0x9e3779b97f4a7c15) >> 20;
  }

  void Rehash() {
    std::pmr::vector<Region> larger(regions_.size() * 2, Region{},
                                    regions_.get_allocator());
    size_t mask = larger.size() - 1;
    for (const Region& region : regions_) {
      if (region.table == nullptr) continue;
      size_t at = Mix(region.number) & mask;
      while (larger[at].table != nullptr) at = (at + 1) & mask;
      larger[at] = region;
    }
    regions_.swap(larger);
  }

  heap::Arena& arena_;
  void* slots_;
  std::pmr::vector<Region> regions_;  // Open addressing.
  size_t count_ = 0;
  Region last_;
};

}  // namespace inspector
