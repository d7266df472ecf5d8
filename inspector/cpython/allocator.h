#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "inspector/cpython/layout.h"
#include "inspector/cpython/memory_map.h"
#include "inspector/cpython/residence.h"

namespace inspector {

/// The array of `struct arena_object` as it is at one moment.
struct ArenaTable {
  const char* entries = nullptr;
  uint32_t count = 0;
};

/// What pymalloc's own books say, in bytes; everything between an arena's first
/// and last pool is in exactly one of them.
struct PoolFigures {
  uint64_t arenas = 0;  // Their number.
  uint64_t arena_bytes = 0;
  uint64_t used_blocks = 0;  // In blocks that are handed out.
  uint64_t free_blocks = 0;  // In pools that also have used ones.
  uint64_t free_pools = 0;   // Used before, empty now.
  uint64_t unused = 0;       // Never cut into pools yet.
  uint64_t overhead = 0;     // Pool headers, what no block fits into.
  // Of the four above what is in RAM: freed blocks by the pools' books, since
  // each was written, the rest by page.
  uint64_t resident_free = 0;
};

/// Bytes of blocks by who handed them out.
struct BlockBytes {
  uint64_t pymalloc = 0;
  uint64_t malloc = 0;
  uint64_t foreign = 0;  // By neither; as many as were asked for.
  uint64_t fixed = 0;    // Data of the program and its libraries.

  uint64_t total() const { return pymalloc + malloc + foreign + fixed; }
  BlockBytes& operator+=(const BlockBytes& other) {
    pymalloc += other.pymalloc;
    malloc += other.malloc;
    foreign += other.foreign;
    fixed += other.fixed;
    return *this;
  }
  BlockBytes& operator-=(const BlockBytes& other) {
    pymalloc -= other.pymalloc;
    malloc -= other.malloc;
    foreign -= other.foreign;
    fixed -= other.fixed;
    return *this;
  }
};

/// Where the interpreter's memory comes from (Objects/obmalloc.c, 3.11 … 3.14,
/// builds with the radix tree): arenas of 1 MiB, in them pools of 16 KiB, in
/// each blocks of one size up to 512 bytes; the rest is malloc's.
///
/// Made once and never freed. `Find` and `Now` want the GIL; all after `Open`
/// is for the child, which may neither lock nor allocate.
class Allocator {
 public:
  Allocator() = default;
  Allocator(const Allocator&) = delete;

  /// Looks for pymalloc's array. No version and no offset is taken for granted,
  /// see allocator.cc. A few milliseconds.
  void Find();
  /// Why there is nothing to walk; empty if there is.
  const std::string& reason() const { return reason_; }
  /// Whether blocks that are not pymalloc's are glibc's malloc's, which keeps
  /// each one's size before it.
  bool has_malloc() const { return has_malloc_; }

  /// Where the array lies now: it moves when it grows.
  ArenaTable Now() const;

  /// Bytes of the pools in use, by the arenas' own counts; -1 if they are not
  /// known. GIL held; O(arenas).
  int64_t UsedPoolBytes() const;

  /// Begins to read. `bases` has room for the table's count; `modules`:
  /// writable data of the program and its libraries, sorted. Both must outlive
  /// this.
  void Open(ArenaTable table, std::span<uintptr_t> bases,
            std::span<const AddressRange> modules);
  /// Whether Open was called, so that blocks can be asked for.
  bool is_open() const { return open_; }
  /// Whether there are arenas and their table agrees with itself.
  bool has_arenas() const { return consistent_; }
  /// Sorted starts of the arenas, each `arena_size` long.
  std::span<const uintptr_t> arenas() const { return arenas_; }
  static constexpr size_t arena_size() { return kArenaBytes; }
  bool IsInArena(uintptr_t address) const;

  /// The size of the blocks that the pool at `begin` is cut into, 16 to 512;
  /// 0 if no such pool is there. `begin` is a multiple of a pool's size.
  uint32_t BlocksIn(uintptr_t begin) const;
  /// Bytes before the first block.
  static constexpr uint32_t pool_header() { return kPoolHeader; }

  /// O(pools and pages).
  PoolFigures Count(Residence& residence) const;

  /// The block at `start`, of which `wanted` bytes were asked for: its real
  /// size where that can be read, else by the allocators' rounding.
  BlockBytes BlockAt(const void* start, uint64_t wanted) const;

 private:
  static constexpr size_t kArenaBytes = size_t{1} << 20;
  static constexpr size_t kPoolBytes = size_t{1} << 14;
  static constexpr size_t kPoolHeader = 48;

  bool IsModuleData(uintptr_t address) const;

  std::string reason_ = "not looked for";
  const char* variable_ = nullptr;  // `arenas`, a pointer to the array.
  bool count_follows_ = false;      // `maxarenas` is the next word.
  bool has_malloc_ = false;
  bool is_raw_malloc_ = false;  // PyMem_RawMalloc is malloc, glibc's or not.

  bool open_ = false;
  bool consistent_ = false;
  ArenaTable table_;
  std::span<uintptr_t> arenas_;
  std::span<const AddressRange> modules_;
  mutable uintptr_t last_arena_ = 0;
};

/// Writable segments of the program and its libraries, sorted. Takes the
/// loader's lock; not for the child.
size_t ListModuleData(std::span<AddressRange> ranges);

}  // namespace inspector
