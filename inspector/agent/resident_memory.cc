// One pass over /proc/self/smaps gives each mapping's anonymous pages. Arenas,
// the libraries' data, glibc's heaps and mapped chunks may share a mapping with
// each other (the kernel joins neighbours), so those are looked at by page
// with mincore, which tells the truth of anonymous memory: a page is either in
// our own page table or not there.

#include "inspector/agent/resident_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

namespace inspector {
namespace {

constexpr uintptr_t kPage = 4096;
// malloc/arena.c: HEAP_MAX_SIZE; heaps of further arenas start at multiples.
constexpr uintptr_t kMallocHeap = uintptr_t{64} << 20;
constexpr uintptr_t kMostGuardBytes = uintptr_t{64} << 10;

/// Of the names that matter here; the line that a path points into goes.
std::string_view LastingName(std::string_view path) {
  for (std::string_view known : {"[heap]", "[stack]"})
    if (path == known) return known;
  return {};
}

/// Pages of this process that are in its page table.
class Residence {
 public:
  bool Has(uintptr_t page) {
    if (page < begin_ || page >= end_) Load(page);
    return page < end_ && (pages_[(page - begin_) / kPage] & 1) != 0;
  }
  int64_t BytesIn(uintptr_t begin, uintptr_t end) {
    int64_t bytes = 0;
    for (uintptr_t page = begin & ~(kPage - 1); page < end; page += kPage)
      if (Has(page)) bytes += kPage;
    return bytes;
  }
  /// Nothing is looked up beyond this.
  void SetEnd(uintptr_t end) { limit_ = end; }

 private:
  void Load(uintptr_t page) {
    begin_ = page;
    end_ = std::min(limit_, page + sizeof pages_ * kPage);
    if (end_ <= begin_ ||
        mincore(reinterpret_cast<void*>(begin_), end_ - begin_, pages_) != 0)
      end_ = begin_;
  }

  uintptr_t begin_ = 0;
  uintptr_t end_ = 0;
  uintptr_t limit_ = 0;
  unsigned char pages_[4096];  // 16 MiB at a time.
};

uint64_t Word(uintptr_t address) {
  uint64_t word;
  std::memcpy(&word, reinterpret_cast<const void*>(address), sizeof word);
  return word;
}

class Classifier {
 public:
  Classifier(const Allocator& allocator, std::span<const AddressRange> modules)
      : allocator_(allocator), modules_(modules) {}

  /// A mapping with `anon` bytes of anonymous pages. `stack_flag`: it has what
  /// the kernel (6.7+) makes of MAP_STACK, since no guard page may show: glibc
  /// 2.42+ marks them inside the mapping (MADV_GUARD_INSTALL, Linux 6.13).
  void Add(const Mapping& mapping, int64_t anon, bool stack_flag) {
    auto [begin, end] = mapping.range;
    bool after_guard = guard_end_ == begin;
    bool is_guard = !mapping.readable && !mapping.writable &&
                    end - begin <= kMostGuardBytes;
    guard_end_ = is_guard ? end : 0;
    memory_.anon += anon;
    if (anon == 0) return;
    if (mapping.path == "[stack]") {
      memory_.stacks += anon;
    } else if (mapping.path == "[heap]") {
      memory_.malloc += anon;
    } else if (mapping.of_file || mapping.shared || !mapping.readable) {
      memory_.module_data += anon;
    } else {
      AddUnnamed(mapping, anon, after_guard || stack_flag);
    }
  }
  ResidentMemory& memory() { return memory_; }

 private:
  /// The size of a heap of a further arena of malloc that starts here, else 0:
  /// heap_info at its start leads to the arena, right behind the heap_info of
  /// its first heap, and says how much may be written (malloc/arena.c).
  static size_t MallocHeap(uintptr_t page, uintptr_t end) {
    constexpr uintptr_t kMostHeader = 256;
    if ((page & (kMallocHeap - 1)) != 0) return 0;
    bool has_arena =
        (Word(page) & (kMallocHeap - 1)) < kMostHeader && Word(page) != 0;
    uint64_t size = Word(page + 24);  // mprotect_size
    return has_arena && size % kPage == 0 && size <= kMallocHeap
               ? std::min<uint64_t>(size, end - page)
               : 0;
  }

  void AddUnnamed(const Mapping& mapping, int64_t anon, bool may_be_stack) {
    auto [begin, end] = mapping.range;
    residence_.SetEnd(end);
    if (may_be_stack && !HoldsArena(begin, end)) {
      memory_.stacks += anon;
      return;
    }
    int64_t known = 0;
    for (uintptr_t page = begin; page < end && known < anon;) {
      uintptr_t next = page + kPage;
      if (allocator_.IsInArena(page)) {
        next = std::min(end, ArenaEnd(page));
        int64_t bytes = residence_.BytesIn(page, next);
        memory_.arenas += bytes;
        known += bytes;
      } else if (IsModuleData(page)) {
        if (residence_.Has(page)) {
          memory_.module_data += kPage;
          known += kPage;
        }
      } else if (residence_.Has(page)) {
        if (size_t heap = MallocHeap(page, end); heap > 0) {
          next = page + heap;
          int64_t bytes = residence_.BytesIn(page, next);
          memory_.malloc += bytes;
          known += bytes;
        } else if (size_t chunk = MappedChunk(page, end); chunk > 0) {
          next = page + chunk;
          int64_t bytes = residence_.BytesIn(page, next);
          memory_.malloc += bytes;
          memory_.malloc_mapped += int64_t(chunk);
          known += bytes;
        }
      } else {
        next = NextResident(page, end);
      }
      page = next;
    }
    memory_.other += std::max<int64_t>(0, anon - known);
  }

  bool HoldsArena(uintptr_t begin, uintptr_t end) const {
    auto arenas = allocator_.arenas();
    auto first = std::lower_bound(arenas.begin(), arenas.end(), begin);
    return first != arenas.end() && *first < end;
  }
  uintptr_t ArenaEnd(uintptr_t page) const {
    auto arenas = allocator_.arenas();
    auto after = std::upper_bound(arenas.begin(), arenas.end(), page);
    return after[-1] + Allocator::arena_size();
  }
  bool IsModuleData(uintptr_t page) const {
    const AddressRange* range = LastAtOrBefore(modules_, page + kPage - 1);
    return range != nullptr && range->end > page;
  }
  uintptr_t NextResident(uintptr_t page, uintptr_t end) {
    while (page < end && !residence_.Has(page)) page += kPage;
    return page;
  }
  /// The size of a block that malloc has mapped on its own and that starts
  /// here, else 0: no previous size, whole pages (glibc 2.43+: less 16), the
  /// mark "mapped".
  static size_t MappedChunk(uintptr_t page, uintptr_t end) {
    constexpr uint64_t kMapped = 2;
    constexpr uint64_t kMarks = 7;
    uint64_t size = Word(page + 8);
    if (Word(page) != 0 || (size & kMarks) != kMapped) return 0;
    size &= ~kMarks;
    if (size % kPage == kPage - 16) size += 16;
    if (size == 0 || size % kPage != 0 || size > end - page) return 0;
    return size;
  }

  const Allocator& allocator_;
  std::span<const AddressRange> modules_;
  Residence residence_;
  ResidentMemory memory_ = {.anon = 0};
  uintptr_t guard_end_ = 0;
};

}  // namespace

ResidentMemory ReadResidentMemory(const Allocator& allocator,
                                  std::span<const AddressRange> modules) {
  Classifier classifier(allocator, modules);
  Mapping mapping;
  int64_t anon = -1;
  bool stack_flag = false;
  auto add = [&] {
    if (anon >= 0) classifier.Add(mapping, anon, stack_flag);
    anon = -1;
    stack_flag = false;
  };
  bool read = ForEachLine("/proc/self/smaps", [&](std::string_view line) {
    constexpr std::string_view kAnonymous = "Anonymous:";
    if (line.starts_with(kAnonymous)) {
      line.remove_prefix(line.find_first_of("0123456789"));
      int64_t kib = 0;
      std::from_chars(line.data(), line.data() + line.size(), kib);
      anon = kib * 1024;
    } else if (line.starts_with("VmFlags:")) {
      stack_flag = line.find(" nh") != line.npos;
    } else if (Mapping next; ParseMapping(line, next)) {
      add();
      mapping = next;
      mapping.path = LastingName(next.path);
    }
  });
  add();
  return read ? classifier.memory() : ResidentMemory{};
}

}  // namespace inspector
