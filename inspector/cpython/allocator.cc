// Where pymalloc's array of arenas lies differs by version and build: static
// variables in 3.11, inside the interpreter in 3.12, in a static struct from
// 3.13 on. So it is found by what it does. A fresh small block lies in a pool;
// the pool's header tells its arena's index; and the one pointer in the
// program's data that leads to an array whose entry of that index covers the
// pool is `arenas`. `usable_arenas` and its like point into the same array, and
// to its start only while entry 0 has free pools: filling that arena up tells
// them apart.

#include "inspector/cpython/allocator.h"

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <dlfcn.h>
#include <link.h>
#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace inspector {
namespace {

// struct pool_header and struct arena_object, the same in 3.11 … 3.14.
constexpr ptrdiff_t kPoolUsed = 0;
constexpr ptrdiff_t kPoolArena = 32;
constexpr ptrdiff_t kPoolClass = 36;
constexpr ptrdiff_t kPoolNext = 40;  // Blocks from here on were never used …
constexpr ptrdiff_t kPoolLast = 44;  // … up to this one.
constexpr ptrdiff_t kArenaAddress = 0;
constexpr ptrdiff_t kArenaNextPool = 8;
constexpr ptrdiff_t kArenaFreePools = 16;
constexpr ptrdiff_t kArenaPools = 20;
constexpr size_t kArenaEntry = 48;
constexpr uint32_t kFirstArenas = 16;  // INITIAL_ARENA_OBJECTS
constexpr uint32_t kMostArenas = 1 << 22;
constexpr size_t kAlignment = 16;
constexpr size_t kLargestBlock = 512;

/// `maxarenas` starts at 16 and doubles.
bool IsTableSize(uint32_t count) {
  return count >= kFirstArenas && count <= kMostArenas &&
         (count & (count - 1)) == 0;
}

/// Readable mappings, neighbours joined.
std::vector<AddressRange> ReadableMappings() {
  std::vector<AddressRange> ranges;
  ForEachMapping([&ranges](const Mapping& mapping) {
    if (!mapping.readable) return;
    if (!ranges.empty() && ranges.back().end == mapping.range.begin)
      ranges.back().end = mapping.range.end;
    else
      ranges.push_back(mapping.range);
  });
  return ranges;
}

/// An entry of a table that is in use and makes sense.
bool IsArena(const char* entry, size_t arena_bytes, size_t pool_bytes) {
  auto address = Read<uintptr_t>(entry, kArenaAddress);
  auto next_pool = Read<uintptr_t>(entry, kArenaNextPool);
  auto pools = Read<uint32_t>(entry, kArenaPools);
  uint32_t most = uint32_t(arena_bytes / pool_bytes);
  return address != 0 && (address & 4095) == 0 && next_pool >= address &&
         next_pool <= address + arena_bytes && pools <= most &&
         pools + 1 >= most && Read<uint32_t>(entry, kArenaFreePools) <= pools;
}

struct Segments {
  uintptr_t holding = 0;  // Of the module with this address only; 0: of all.
  std::span<AddressRange> ranges;
  size_t count = 0;
};

int AddSegments(dl_phdr_info* info, size_t, void* argument) noexcept {
  auto& segments = *static_cast<Segments*>(argument);
  auto range_of = [info](const ElfW(Phdr) & header) {
    uintptr_t begin = info->dlpi_addr + header.p_vaddr;
    return AddressRange{begin, begin + header.p_memsz};
  };
  bool wanted = segments.holding == 0;
  for (int i = 0; i < info->dlpi_phnum && !wanted; ++i)
    wanted = info->dlpi_phdr[i].p_type == PT_LOAD &&
             range_of(info->dlpi_phdr[i]).Contains(segments.holding);
  if (!wanted) return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info->dlpi_phdr[i];
    if (header.p_type != PT_LOAD || (header.p_flags & PF_W) == 0) continue;
    if (segments.count < segments.ranges.size())
      segments.ranges[segments.count++] = range_of(header);
  }
  return 0;
}

/// Words of the interpreter's own data that lead to an array whose entry
/// `index` covers `pool`.
std::vector<const char*> PointersToTable(uintptr_t pool, uint32_t index,
                                         size_t arena_bytes,
                                         size_t pool_bytes) {
  std::vector<const char*> found;
  auto mappings = ReadableMappings();
  AddressRange memory[16];
  Segments segments;
  segments.holding =
      reinterpret_cast<uintptr_t>(dlsym(RTLD_DEFAULT, "_PyRuntime"));
  segments.ranges = memory;
  if (segments.holding != 0) dl_iterate_phdr(AddSegments, &segments);
  for (size_t i = 0; i < segments.count; ++i) {
    uintptr_t at = (memory[i].begin + 7) & ~uintptr_t{7};
    for (; at + 8 <= memory[i].end; at += 8) {
      const char* variable = reinterpret_cast<const char*>(at);
      auto table = Read<uintptr_t>(variable, 0);
      if (table < 4096 || (table & 7) != 0) continue;
      uintptr_t entry = table + kArenaEntry * index;
      if (!HoldsAll(mappings, entry, kArenaEntry)) continue;
      const char* arena = reinterpret_cast<const char*>(entry);
      if (!IsArena(arena, arena_bytes, pool_bytes)) continue;
      auto address = Read<uintptr_t>(arena, kArenaAddress);
      if (pool >= address && pool + pool_bytes <= address + arena_bytes)
        found.push_back(variable);
    }
  }
  return found;
}

/// Blocks until entry 0 of the table has no free pool, so that no list of
/// arenas with free pools leads to it.
std::vector<void*> FillFirstArena(const char* table) {
  std::vector<void*> blocks;
  constexpr size_t kMost = size_t{1} << 15;
  constexpr size_t kBytes = 384;  // And what PYTHONMALLOC=debug adds.
  while (Read<uint32_t>(table, kArenaFreePools) > 0 && blocks.size() < kMost)
    blocks.push_back(PyObject_Malloc(kBytes));
  return blocks;
}

/// PYTHONMALLOC=debug puts the size, most significant byte first, a letter for
/// the domain and seven 0xfd before a block.
bool HasDebugHead(const char* block) {
  return Read<uint64_t>(block, -8) >> 8 == 0xfdfdfdfdfdfdfd;
}

/// Bytes of a block that PyMem_RawRealloc gave; malloc must have it.
size_t RoomAt(const char* block) {
  if (HasDebugHead(block)) return __builtin_bswap64(Read<uint64_t>(block, -16));
  return malloc_usable_size(const_cast<char*>(block));
}

/// What glibc gives for a block of `asked` bytes, with the word before it.
uint64_t ChunkFor(uint64_t asked) {
  return std::max<uint64_t>(32, (asked + 8 + 15) & ~uint64_t{15});
}

/// Whether the word before the block can be read: the page before may be
/// missing.
bool HasWordBefore(uintptr_t block) {
  return (block & (Residence::kPage - 1)) >= 8;
}

/// The size of glibc's chunk with this block, of which `asked` bytes were asked
/// for; 0 if none is there. It is in the word before the block, the three
/// lowest bits are marks (malloc/malloc.c).
uint64_t ChunkAt(const char* block, uint64_t asked) {
  constexpr uint64_t kMarks = 7;
  constexpr uint64_t kSlack = 8192;
  uint64_t fewest = ChunkFor(asked);
  if ((reinterpret_cast<uintptr_t>(block) & 15) != 0) return 0;
  uint64_t chunk = Read<uint64_t>(block, -8) & ~kMarks;
  bool fits = chunk % 16 == 0 && chunk >= fewest && chunk - fewest <= kSlack;
  return fits ? chunk : 0;
}

/// Whether the allocator's blocks are chunks of glibc's malloc: some must be,
/// and none may look otherwise. Sizes that pymalloc leaves to others.
bool GivesChunks(void* (*allocate_with)(size_t), void (*free_with)(void*)) {
  // Or the compiler, which knows malloc, might leave both calls out.
  void* (*volatile allocate)(size_t) = allocate_with;
  void (*volatile release)(void*) = free_with;
  constexpr size_t kDebugHead = 16;
  constexpr size_t kDebugBytes = 24;
  auto has_word_before = [](const char* block) {
    return HasWordBefore(reinterpret_cast<uintptr_t>(block));
  };
  bool any = false;
  bool other = false;
  for (size_t bytes = 520; bytes < 6000; bytes += 440) {
    auto* block = static_cast<char*>(allocate(bytes));
    if (block == nullptr) continue;
    const char* start = block;
    size_t asked = bytes;
    // pymalloc's hooks, then those of what it hands on to.
    while (has_word_before(start) && HasDebugHead(start)) {
      start -= kDebugHead;
      asked += kDebugBytes;
    }
    if (has_word_before(start))
      (ChunkAt(start, asked) != 0 ? any : other) = true;
    release(block);
  }
  return any && !other;
}

}  // namespace

size_t ListModuleData(std::span<AddressRange> ranges) {
  Segments segments;
  segments.ranges = ranges;
  dl_iterate_phdr(AddSegments, &segments);
  std::sort(ranges.begin(), ranges.begin() + ptrdiff_t(segments.count),
            [](const AddressRange& a, const AddressRange& b) {
              return a.begin < b.begin;
            });
  return segments.count;
}

void Allocator::Find() {
  variable_ = nullptr;
  reason_ =
      "pymalloc's arenas were not found: PYTHONMALLOC names another allocator, "
      "or the build has none";
  has_malloc_ = GivesChunks(PyObject_Malloc, PyObject_Free);
  // The two differ if another malloc was put before glibc's, which has a
  // malloc_usable_size of its own, or if the program gave PyMem_RawMalloc one.
  // Not in the limited API of 3.11.
  auto raw_malloc = reinterpret_cast<void* (*)(size_t)>(
      dlsym(RTLD_DEFAULT, "PyMem_RawMalloc"));
  auto raw_free =
      reinterpret_cast<void (*)(void*)>(dlsym(RTLD_DEFAULT, "PyMem_RawFree"));
  is_raw_malloc_ =
      raw_malloc != nullptr && raw_free != nullptr &&
      GivesChunks(raw_malloc, raw_free) == GivesChunks(std::malloc, std::free);
  constexpr size_t kProbeBytes = 200;
  void* probe = PyObject_Malloc(kProbeBytes);
  auto address = reinterpret_cast<uintptr_t>(probe);
  uintptr_t pool = address & ~uintptr_t{kPoolBytes - 1};
  bool has_pool = HoldsAll(ReadableMappings(), pool, kPoolHeader) &&
                  address - pool >= kPoolHeader;
  if (has_pool) {
    const char* header = reinterpret_cast<const char*>(pool);
    auto index = Read<uint32_t>(header, kPoolArena);
    std::vector<const char*> found;
    if (index < kMostArenas &&
        Read<uint32_t>(header, kPoolClass) < kLargestBlock / kAlignment)
      found = PointersToTable(pool, index, kArenaBytes, kPoolBytes);
    if (found.size() > 1) {
      const char* table = ReadPointer(found.front(), 0);
      std::vector<void*> blocks = FillFirstArena(table);
      std::erase_if(found, [table](const char* variable) {
        return ReadPointer(variable, 0) != table;
      });
      for (void* block : blocks) PyObject_Free(block);
    }
    if (found.size() == 1) {
      variable_ = found.front();
      count_follows_ = IsTableSize(Read<uint32_t>(variable_, 8));
    } else if (!found.empty()) {
      reason_ = "several words of the interpreter look like pymalloc's arenas";
    }
  }
  PyObject_Free(probe);
  if (variable_ == nullptr) return;
  if (Now().count == 0)
    reason_ = "the size of pymalloc's table of arenas cannot be read";
  else
    reason_.clear();
}

ArenaTable Allocator::Now() const {
  if (variable_ == nullptr) return {};
  ArenaTable table;
  table.entries = ReadPointer(variable_, 0);
  if (table.entries == nullptr) return {};
  if (count_follows_) {
    table.count = Read<uint32_t>(variable_, 8);
  } else if (is_raw_malloc_) {
    // The array is one block of malloc with 16 * 2^k entries.
    size_t room = RoomAt(table.entries) / kArenaEntry;
    for (uint32_t n = kFirstArenas; n <= room && n <= kMostArenas; n *= 2)
      table.count = n;
  }
  return IsTableSize(table.count) ? table : ArenaTable{};
}

int64_t Allocator::UsedPoolBytes() const {
  ArenaTable table = Now();
  if (table.count == 0) return -1;
  int64_t bytes = 0;
  for (uint32_t i = 0; i < table.count; ++i) {
    const char* entry = table.entries + i * kArenaEntry;
    if (Read<uintptr_t>(entry, kArenaAddress) == 0) continue;
    bytes += int64_t{Read<uint32_t>(entry, kArenaPools)} -
             Read<uint32_t>(entry, kArenaFreePools);
  }
  return bytes * int64_t{kPoolBytes};
}

void Allocator::Open(ArenaTable table, std::span<uintptr_t> bases,
                     std::span<const AddressRange> modules) {
  modules_ = modules;
  table_ = table;
  size_t count = 0;
  open_ = true;
  consistent_ = table.count > 0 && table.count <= bases.size();
  for (uint32_t i = 0; i < table.count && consistent_; ++i) {
    const char* entry = table.entries + i * kArenaEntry;
    auto address = Read<uintptr_t>(entry, kArenaAddress);
    if (address == 0) continue;
    consistent_ = IsArena(entry, kArenaBytes, kPoolBytes);
    bases[count++] = address;
  }
  arenas_ = bases.first(consistent_ ? count : 0);
  std::sort(arenas_.begin(), arenas_.end());
}

bool Allocator::IsInArena(uintptr_t address) const {
  if (address - last_arena_ < kArenaBytes) return true;
  auto after = std::upper_bound(arenas_.begin(), arenas_.end(), address);
  if (after == arenas_.begin() || address - after[-1] >= kArenaBytes)
    return false;
  last_arena_ = after[-1];
  return true;
}

bool Allocator::IsModuleData(uintptr_t address) const {
  return HoldsAll(modules_, address, 1);
}

uint32_t Allocator::BlocksIn(uintptr_t begin) const {
  if (!IsInArena(begin) || !IsInArena(begin + kPoolBytes - 1)) return 0;
  auto size_class =
      Read<uint32_t>(reinterpret_cast<const char*>(begin), kPoolClass);
  if (size_class >= kLargestBlock / kAlignment) return 0;
  return (size_class + 1) * uint32_t{kAlignment};
}

// As _PyObject_DebugMallocStats counts (Objects/obmalloc.c).
PoolFigures Allocator::Count(Residence& residence) const {
  PoolFigures figures;
  for (uint32_t i = 0; i < table_.count && consistent_; ++i) {
    const char* entry = table_.entries + i * kArenaEntry;
    auto address = Read<uintptr_t>(entry, kArenaAddress);
    if (address == 0) continue;
    ++figures.arenas;
    figures.arena_bytes += kArenaBytes;
    uintptr_t first = (address + kPoolBytes - 1) & ~uintptr_t{kPoolBytes - 1};
    auto next = Read<uintptr_t>(entry, kArenaNextPool);
    uintptr_t end = address + kArenaBytes;
    figures.overhead += first - address;
    residence.SetEnd(end);
    auto add_resident = [&](uintptr_t from, uintptr_t to) {
      figures.resident_free += uint64_t(residence.BytesIn(from, to));
    };
    add_resident(address, first);
    uintptr_t pool = first;
    for (; pool + kPoolBytes <= std::min(next, end); pool += kPoolBytes) {
      const char* header = reinterpret_cast<const char*>(pool);
      auto used = Read<uint32_t>(header, kPoolUsed);
      auto size_class = Read<uint32_t>(header, kPoolClass);
      if (used == 0 || size_class >= kLargestBlock / kAlignment) {
        figures.free_pools += kPoolBytes;
        add_resident(pool, pool + kPoolBytes);
        continue;
      }
      size_t block = (size_class + 1) * kAlignment;
      size_t blocks = (kPoolBytes - kPoolHeader) / block;
      figures.used_blocks += used * block;
      figures.free_blocks += (blocks - used) * block;
      figures.overhead += kPoolBytes - blocks * block;
      uint64_t next_block = Read<uint32_t>(header, kPoolNext);
      uint64_t last_block = Read<uint32_t>(header, kPoolLast);
      uint64_t free = (blocks - used) * block;
      uint64_t never_used =
          next_block <= last_block ? last_block + block - next_block : 0;
      figures.resident_free += kPoolHeader + free - std::min(free, never_used);
      add_resident(pool + next_block, pool + kPoolBytes);
    }
    add_resident(pool, end);
    // An arena that is not aligned ends inside a pool.
    uintptr_t whole = pool + (end - pool) / kPoolBytes * kPoolBytes;
    figures.unused += whole - pool;
    figures.overhead += end - whole;
  }
  return figures;
}

BlockBytes Allocator::BlockAt(const void* start, uint64_t wanted) const {
  auto address = reinterpret_cast<uintptr_t>(start);
  BlockBytes bytes;
  if (IsInArena(address)) {
    uintptr_t pool = address & ~uintptr_t{kPoolBytes - 1};
    auto size_class =
        Read<uint32_t>(reinterpret_cast<const char*>(pool), kPoolClass);
    uint64_t block = (uint64_t{size_class} + 1) * kAlignment;
    // With the debug hooks, and in the memory of other allocators, it lies
    // inside a block.
    bool starts_block = address - pool >= kPoolHeader &&
                        size_class < kLargestBlock / kAlignment &&
                        (address - pool - kPoolHeader) % block == 0;
    bytes.pymalloc = starts_block ? block : wanted;
    return bytes;
  }
  if (IsModuleData(address)) {
    bytes.fixed = wanted;
    return bytes;
  }
  if (!has_malloc_) {
    bytes.foreign = wanted;
    return bytes;
  }
  if (HasWordBefore(address))
    bytes.malloc = ChunkAt(static_cast<const char*>(start), wanted);
  if (bytes.malloc == 0) bytes.malloc = ChunkFor(wanted);
  return bytes;
}

}  // namespace inspector
