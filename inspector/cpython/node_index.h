#pragma once

#include "inspector/cpython/allocator.h"
#include "inspector/cpython/leaves_last.h"
#include "inspector/graph/arena.h"
#include "inspector/graph/heap_graph.h"
#include "inspector/graph/sparse_column.h"

namespace inspector {

/// From an object's address to its node and back. The way there is a shadow of
/// the heap with four bytes for each place where an object can lie: in a pool
/// of pymalloc that is each of its blocks, since a block holds one object;
/// elsewhere each 16 bytes. Compared with a hash table: as dense on a packed
/// heap, no probing, and neighbours in the heap are neighbours here. O(1).
///
/// What shares a block with another object (C code that puts objects inside its
/// own structs) is kept apart in a small hash table. The way back takes four
/// bytes, too: the number of a MiB that has objects, and where in it.
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
        slots_(arena, 8),
        addresses_(arena),
        bases_(&arena),
        regions_(1024, Region{}, &arena),
        others_(&arena),
        far_(&arena) {}

  /// Where the entry of one address is kept. `slot` may be fetched ahead.
  struct Place {
    uint32_t* slot = nullptr;
    uint32_t offset = 0;  // Plus one, in units from the block's start; 0: far.
    uint32_t block_bytes = 0;  // Of the pool's blocks; 0: it is in no pool.
    uint32_t base = 0;         // Of the region.
  };
  static constexpr uint32_t kUnitBytes = 16;
  Place PlaceOf(const void* address) {
    auto word = reinterpret_cast<uintptr_t>(address);
    Pool& pool = PoolsOf(word >> kRegionBits)[PoolIn(word)];
    if (pool.reciprocal == 0) Open(pool, word);
    Place place = PlaceIn(pool, word);
    place.base = last_.base;
    return place;
  }
  /// kNoNode if there is none yet.
  Entry Get(Place place, const void* address) const {
    uint32_t value = *place.slot;
    if (place.offset != 0 && value >> kOffsetShift == place.offset)
      return Unpack(value);
    if (place.offset != 0 && value == 0) return {};
    return FindOther(address);
  }
  /// `entry.node` is the next number.
  void Add(Place place, const void* address, Entry entry) {
    uint32_t value = entry.node | (entry.mark ? kMarkBit : 0);
    if (place.offset != 0 && *place.slot == 0)
      *place.slot = place.offset << kOffsetShift | value;
    else
      others_[reinterpret_cast<uintptr_t>(address)] = value | kOtherBit;
    NoteAddress(place.base, reinterpret_cast<uintptr_t>(address), entry.node);
  }

  uintptr_t AddressOf(heap::NodeId node) const {
    uint32_t value = addresses_[node];
    if (value == kFar) return far_.Find(node + 1);
    return (bases_[value >> kPlaceBits] << kRegionBits) +
           uintptr_t{value & kPlaceMask} * kPlaceBytes;
  }

  /// Gives the memory of the way there back and renumbers the nodes: of all
  /// calls only AddressOf is allowed from now on.
  void KeepAddresses(const LeavesLast& order) {
    slots_.Clear();
    order.Reorder(addresses_);
    heap::SparseColumn<uintptr_t> far(&arena_);
    far_.ForEach([&](uint64_t node, uintptr_t word) {
      far[order.Of(static_cast<heap::NodeId>(node - 1)) + 1] = word;
    });
    far_.Swap(far);
  }

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
  static constexpr uint32_t kOtherBit = 1u << 30;  // So that none is 0.
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
    uint32_t base = 0;  // Its place in bases_.
  };

  // An address: the place of its region in bases_, and where it lies there.
  static constexpr int kPlaceBits = 17;
  static constexpr uint32_t kPlaceMask = (1u << kPlaceBits) - 1;
  static constexpr uint32_t kPlaceBytes = 8;
  static constexpr uint32_t kMostBases = (1u << (32 - kPlaceBits)) - 1;
  static constexpr uint32_t kFar = 0xffffffff;  // Kept apart.

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

  [[gnu::noinline]] void Open(Pool& pool, uintptr_t word) {
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
    if (number != last_.number || last_.pools == nullptr) {
      size_t seat = SeatOf(number);
      if (regions_[seat].pools == nullptr) seat = AddRegion(number);
      last_ = regions_[seat];
    }
    return last_.pools;
  }

  /// Out of the way of the lookup, which is to be inlined.
  [[gnu::noinline]] size_t AddRegion(uintptr_t number) {
    if (bases_.size() * 2 >= regions_.size()) {
      std::pmr::vector<Region> old(regions_.size() * 2, Region{}, &arena_);
      old.swap(regions_);
      for (const Region& region : old)
        if (region.pools != nullptr) regions_[SeatOf(region.number)] = region;
    }
    void* pools = arena_.allocate(kPools * sizeof(Pool), alignof(Pool));
    size_t seat = SeatOf(number);
    regions_[seat] = {number, new (pools) Pool[kPools],
                      static_cast<uint32_t>(bases_.size())};
    bases_.push_back(number);
    return seat;
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
  Entry FindOther(const void* address) const {
    uint32_t value = others_.Find(reinterpret_cast<uintptr_t>(address));
    return value == 0 ? Entry{} : Unpack(value & ~kOtherBit);
  }
  void NoteAddress(uint32_t base, uintptr_t word, heap::NodeId node) {
    bool is_far = base >= kMostBases || (word & (kPlaceBytes - 1)) != 0;
    if (is_far) far_[node + 1] = word;
    addresses_.push_back(is_far ? kFar
                                : base << kPlaceBits |
                                      ((word / kPlaceBytes) & kPlaceMask));
  }

  const Allocator* allocator_;
  heap::Arena& arena_;
  heap::Column<uint32_t> slots_;  // Offset, mark, node; 0: none.
  heap::Column<uint32_t> addresses_;
  std::pmr::vector<uintptr_t> bases_;
  std::pmr::vector<Region> regions_;  // Open addressing.
  Region last_;
  heap::SparseColumn<uint32_t> others_;  // By address.
  heap::SparseColumn<uintptr_t> far_;    // By node + 1.
};

}  // namespace inspector
