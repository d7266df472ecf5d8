#pragma once

#include "inspector/cpython/allocator.h"
#include "inspector/graph/arena.h"
#include "inspector/graph/heap_graph.h"

namespace inspector {

/// From an object's address to its node. A shadow of the heap with four bytes
/// for each place where an object can lie: in a pool of pymalloc that is each
/// of its blocks, since a block holds one object; elsewhere each 16 bytes.
/// Compared with a hash table: as dense on a packed heap, no probing, and
/// neighbours in the heap are neighbours here. O(1).
///
/// What shares a block with another object (C code that puts objects inside its
/// own structs) is kept apart in a small hash table.
///
/// Beside the node it keeps one mark for whoever walks, so that the node's own
/// columns need not be touched.
class NodeIndex {
 public:
  static constexpr heap::NodeId kMostNodes = (1u << 29) - 1;

  struct Entry {
    heap::NodeId node = heap::kNoNode;
    bool mark = false;
  };

  /// `allocator`: opened, or null; without it everything counts as elsewhere.
  NodeIndex(const Allocator* allocator, heap::Arena& arena)
      : allocator_(allocator),
        arena_(arena),
        slots_(arena),
        regions_(1024, Region{}, &arena),
        others_(64, Other{}, &arena) {}

  /// Where the entry of one address is kept. `slot` may be fetched ahead.
  struct Place {
    uint32_t* slot = nullptr;
    uint32_t offset = 0;  // Plus one, in units from the block's start; 0: far.
    uint32_t block_bytes = 0;  // Of the pool's blocks; 0: it is in no pool.
  };
  static constexpr uint32_t kUnitBytes = 16;
  Place PlaceOf(const void* address) {
    auto word = reinterpret_cast<uintptr_t>(address);
    Pool& pool = PoolsOf(word >> kRegionBits)[PoolIn(word)];
    if (pool.reciprocal == 0) Open(pool, word);
    return PlaceIn(pool, word);
  }
  /// kNoNode if there is none yet.
  Entry Get(Place place, const void* address) const {
    uint32_t value = *place.slot;
    if (place.offset != 0 && value >> kOffsetShift == place.offset)
      return Unpack(value);
    if (place.offset != 0 && value == 0) return {};
    return FindOther(address);
  }
  void Put(Place place, const void* address, Entry entry) {
    uint32_t value = entry.node | (entry.mark ? kMarkBit : 0);
    if (place.offset != 0 && *place.slot == 0)
      *place.slot = place.offset << kOffsetShift | value;
    else
      PutOther(address, value);
  }

  /// Gives its memory back; no call is allowed any more.
  void Clear() { slots_.Clear(); }

  /// `address` may be any word: nothing is made for it.
  heap::NodeId Find(const void* address) const {
    auto word = reinterpret_cast<uintptr_t>(address);
    const Pool* pools = regions_[SeatOf(word >> kRegionBits)].pools;
    if (pools == nullptr || (word & 7) != 0) return heap::kNoNode;
    const Pool& pool = pools[PoolIn(word)];
    if (pool.reciprocal == 0) return heap::kNoNode;
    return Get(PlaceIn(pool, word), address).node;
  }

 private:
  static constexpr int kOffsetShift = 30;
  static constexpr uint32_t kMarkBit = 1u << 29;
  static constexpr int kRegionBits = 20;
  static constexpr int kPoolBits = 14;
  static constexpr int kUnitBits = 4;
  static constexpr size_t kPools = size_t{1} << (kRegionBits - kPoolBits);
  static constexpr uint32_t kUnits = 1 << (kPoolBits - kUnitBits);
  static constexpr int kReciprocalBits = 15;

  /// 16 KiB of address space: where its slots begin, and how a unit of 16 bytes
  /// is divided by the size of a block.
  struct Pool {
    uint32_t first = 0;
    uint16_t reciprocal = 0;  // Rounded up, of units; 0: not looked at yet.
    uint8_t units = 0;        // In a block.
    uint8_t header = 0;       // Units before the first block.
  };
  struct Region {
    uintptr_t number = 0;
    Pool* pools = nullptr;
  };
  struct Other {
    uintptr_t address = 0;
    uint32_t value = 0;
  };

  static Entry Unpack(uint32_t value) {
    return {value & kMostNodes, (value & kMarkBit) != 0};
  }
  static size_t PoolIn(uintptr_t word) {
    return (word >> kPoolBits) & (kPools - 1);
  }

  // Exact for units below 2^10 and blocks of up to 2^5: the error of the
  // reciprocal, below block * 2^10, stays below 2^15.
  Place PlaceIn(const Pool& pool, uintptr_t word) const {
    uint32_t unit = (word >> kUnitBits) & (kUnits - 1);
    if (unit < pool.header) return {slots_.data() + pool.first, 0, 0};
    unit -= pool.header;
    uint32_t block = unit * pool.reciprocal >> kReciprocalBits;
    uint32_t offset = unit - block * pool.units + 1;
    bool odd = (word & 8) != 0;
    if (pool.header == 0)
      offset += odd ? 1 : 0;
    else if (odd || offset > 3)
      offset = 0;
    return {slots_.data() + pool.first + block, offset,
            pool.header == 0 ? 0 : pool.units * kUnitBytes};
  }

  void Open(Pool& pool, uintptr_t word) {
    uintptr_t begin = word >> kPoolBits << kPoolBits;
    uint32_t bytes = allocator_ == nullptr ? 0 : allocator_->BlocksIn(begin);
    pool.units = uint8_t(bytes == 0 ? 1 : bytes >> kUnitBits);
    pool.header =
        uint8_t(bytes == 0 ? 0 : Allocator::pool_header() >> kUnitBits);
    pool.reciprocal =
        uint16_t(((1 << kReciprocalBits) + pool.units - 1) / pool.units);
    pool.first = uint32_t(slots_.size());
    if (slots_.size() > 0xffffffff - kUnits) arena_.Exhaust();
    slots_.resize(slots_.size() +
                  (kUnits - pool.header + pool.units - 1) / pool.units);
  }

  Pool* PoolsOf(uintptr_t number) {
    if (number == last_.number && last_.pools != nullptr) return last_.pools;
    size_t at = SeatOf(number);
    if (regions_[at].pools == nullptr) {
      if (++region_count_ * 2 > regions_.size()) {
        std::pmr::vector<Region> old(regions_.size() * 2, Region{}, &arena_);
        old.swap(regions_);
        for (const Region& region : old)
          if (region.pools != nullptr) regions_[SeatOf(region.number)] = region;
        at = SeatOf(number);
      }
      void* pools = arena_.allocate(kPools * sizeof(Pool), alignof(Pool));
      regions_[at] = {number, new (pools) Pool[kPools]};
    }
    last_ = regions_[at];
    return last_.pools;
  }

  static size_t Mix(uintptr_t number) {
    return (number * 0x9e3779b97f4a7c15) >> 20;
  }
  /// Where the region is, or would be.
  size_t SeatOf(uintptr_t number) const {
    size_t mask = regions_.size() - 1;
    size_t at = Mix(number) & mask;
    while (regions_[at].pools != nullptr && regions_[at].number != number)
      at = (at + 1) & mask;
    return at;
  }
  size_t OtherSeatOf(uintptr_t address) const {
    size_t mask = others_.size() - 1;
    size_t at = Mix(address) & mask;
    while (others_[at].address != 0 && others_[at].address != address)
      at = (at + 1) & mask;
    return at;
  }
  Entry FindOther(const void* address) const {
    const Other& other =
        others_[OtherSeatOf(reinterpret_cast<uintptr_t>(address))];
    return other.address == 0 ? Entry{} : Unpack(other.value);
  }
  void PutOther(const void* address, uint32_t value) {
    auto word = reinterpret_cast<uintptr_t>(address);
    if (++other_count_ * 2 > others_.size()) {
      std::pmr::vector<Other> old(others_.size() * 2, Other{}, &arena_);
      old.swap(others_);
      for (const Other& other : old)
        if (other.address != 0) others_[OtherSeatOf(other.address)] = other;
    }
    others_[OtherSeatOf(word)] = {word, value};
  }

  const Allocator* allocator_;
  heap::Arena& arena_;
  heap::Column<uint32_t> slots_;  // Offset, mark, node; 0: none.
  // Open addressing.
  std::pmr::vector<Region> regions_;
  std::pmr::vector<Other> others_;
  size_t region_count_ = 0;
  size_t other_count_ = 0;
  Region last_;
};

}  // namespace inspector
