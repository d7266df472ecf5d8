// One pass over /proc/self/smaps gives each mapping's anonymous pages. Arenas,
// the libraries' data, glibc's heaps and mapped chunks may share a mapping with
// each other (the kernel joins neighbours), so those are looked at by page
// (Residence).

#include "inspector/agent/resident_memory.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

namespace inspector {
namespace {

constexpr uintptr_t kPage = Residence::kPage;
// malloc/arena.c: HEAP_MAX_SIZE; heaps of further arenas start at multiples.
constexpr uintptr_t kMallocHeap = uintptr_t{64} << 20;
constexpr uintptr_t kMostGuardBytes = uintptr_t{64} << 10;

/// Of the names that matter here; the line that a path points into goes.
std::string_view LastingName(std::string_view path) {
  for (std::string_view known : {"[heap]", "[stack]"})
    if (path == known) return known;
  return {};
}

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
    if (mapping.path == "[heap]") {
      memory_.malloc += anon;
      memory_.malloc_size += int64_t(end - begin);
    } else if (anon == 0) {
      return;
    } else if (mapping.path == "[stack]") {
      memory_.stacks += anon;
    } else if (mapping.of_file || mapping.shared) {
      memory_.module_data += anon;
    } else if (!mapping.readable) {
      memory_.other += anon;
    } else {
      AddUnnamed(mapping, anon, after_guard || stack_flag);
    }
  }
  ResidentMemory& memory() { return memory_; }

 private:
  /// A part of malloc's memory: what it counts as its own, and what of the
  /// mapping belongs to it.
  struct MallocPart {
    uint64_t size = 0;
    uint64_t extent = 0;  // 0: there is none.
  };

  /// A heap of a further arena of malloc that starts here: heap_info at its
  /// start leads to the arena, right behind the heap_info of its first heap,
  /// and says how much of it is in use and how much was ever (malloc/arena.c).
  static MallocPart MallocHeap(uintptr_t page, uintptr_t end) {
    constexpr uintptr_t kLeastHeader = 32;
    constexpr uintptr_t kMostHeader = 256;
    if ((page & (kMallocHeap - 1)) != 0) return {};
    uintptr_t place = Word(page) & (kMallocHeap - 1);
    uint64_t size = Word(page + 16);
    uint64_t writable = Word(page + 24);  // mprotect_size
    if (place < kLeastHeader || place > kMostHeader || size == 0 ||
        size % kPage != 0 || writable % kPage != 0 || size > writable ||
        writable > kMallocHeap)
      return {};
    return {size, std::min<uint64_t>(writable, end - page)};
  }

  void AddUnnamed(const Mapping& mapping, int64_t anon, bool may_be_stack) {
    auto [begin, end] = mapping.range;
    residence_.SetEnd(end);
    if (may_be_stack && !HoldsArena(begin, end)) {
      memory_.stacks += anon;
      return;
    }
    // A mapping may be a thousand times larger than what of it is in RAM.
    constexpr uintptr_t kLookedAtAnyway = uintptr_t{1} << 30;
    int64_t seen = 0;
    last_ = end;
    for (uintptr_t page = begin; page < last_; page += kPage) {
      if (seen >= anon && page - begin > kLookedAtAnyway) last_ = page;
      if (residence_.Has(page)) seen += kPage;
    }
    // The kernel's figure leaves out its page of zeros, which stands where
    // memory was read and never written: in big tables, in libraries' data.
    zeros_ = std::max<int64_t>(0, seen - anon);
    for (uintptr_t page = begin; page < last_;) {
      uintptr_t next = page + kPage;
      if (allocator_.IsInArena(page)) {
        next = std::min(end, ArenaEnd(page));
        memory_.arenas += BytesIn(page, next);
      } else if (IsModuleData(page)) {
        memory_.module_data += BytesIn(page, next);
      } else if (residence_.Has(page)) {
        MallocPart part = MallocHeap(page, end);
        if (part.extent == 0) part = MappedChunk(page, end);
        if (part.extent > 0) {
          next = page + part.extent;
          memory_.malloc_size += int64_t(part.size);
          memory_.malloc += BytesIn(page, next);
        } else {
          memory_.other += BytesIn(page, next);
        }
      } else {
        next = NextResident(page, last_);
      }
      page = next;
    }
  }

  /// What is in RAM of whole pages, without those of zeros.
  int64_t BytesIn(uintptr_t begin, uintptr_t end) {
    int64_t bytes = 0;
    end = std::min(end, last_);
    for (uintptr_t page = begin; page < end; page += kPage) {
      if (!residence_.Has(page)) continue;
      if (zeros_ > 0 && IsZero(page))
        zeros_ -= kPage;
      else
        bytes += kPage;
    }
    return bytes;
  }
  static bool IsZero(uintptr_t page) {
    for (uintptr_t at = page; at < page + kPage; at += 8)
      if (Word(at) != 0) return false;
    return true;
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
  /// A block that malloc has mapped on its own and that starts here: no
  /// previous size, whole pages (glibc 2.43+: less 16), the mark "mapped".
  static MallocPart MappedChunk(uintptr_t page, uintptr_t end) {
    constexpr uint64_t kMapped = 2;
    constexpr uint64_t kMarks = 7;
    uint64_t size = Word(page + 8);
    if (Word(page) != 0 || (size & kMarks) != kMapped) return {};
    size &= ~kMarks;
    if (size % kPage == kPage - 16) size += 16;
    if (size == 0 || size % kPage != 0 || size > end - page) return {};
    return {size, size};
  }

  const Allocator& allocator_;
  std::span<const AddressRange> modules_;
  Residence residence_;
  // Of the mapping at hand:
  uintptr_t last_ = 0;  // Nothing is in RAM from here on.
  int64_t zeros_ = 0;   // Not yet found.
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
