// One pass over /proc/self/smaps gives each mapping's anonymous pages. Arenas,
// the libraries' data and glibc's mapped chunks may share a mapping with each
// other (the kernel joins neighbours), so those three are looked at by page
// with mincore, which tells the truth of anonymous memory: a page is either in
// our own page table or not there.

#include "inspector/agent/memory_map.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>

namespace inspector {
namespace {

constexpr uintptr_t kPage = 4096;
// malloc/arena.c: HEAP_MAX_SIZE; heaps of further arenas start at multiples.
constexpr uintptr_t kMallocHeap = uintptr_t{64} << 20;
constexpr uintptr_t kMostGuardBytes = uintptr_t{64} << 10;

/// Calls `line(text)` for each line of a file, through a buffer on the stack.
/// False if the file can't be read.
template <typename Line>
bool EachLine(const char* path, Line line) {
  int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  char text[16384];
  size_t kept = 0;
  bool any = false;
  for (;;) {
    ssize_t size = read(descriptor, text + kept, sizeof text - kept);
    if (size <= 0) break;
    any = true;
    std::string_view rest(text, kept + size_t(size));
    for (size_t end; (end = rest.find('\n')) != std::string_view::npos;) {
      line(rest.substr(0, end));
      rest.remove_prefix(end + 1);
    }
    kept = rest.size() < sizeof text ? rest.size() : 0;
    std::memmove(text, rest.data(), kept);
  }
  close(descriptor);
  return any;
}

uintptr_t TakeNumber(std::string_view& text, unsigned base) {
  uintptr_t value = 0;
  size_t used = 0;
  for (; used < text.size(); ++used) {
    char c = text[used];
    unsigned digit = c >= '0' && c <= '9'   ? unsigned(c - '0')
                     : c >= 'a' && c <= 'f' ? unsigned(c - 'a') + 10
                                            : 99;
    if (digit >= base) break;
    value = value * base + digit;
  }
  text.remove_prefix(used);
  return value;
}

struct Mapping {
  AddressRange range;
  bool readable = false;
  bool writable = false;
  bool shared = false;
  bool of_file = false;
  bool heap = false;   // [heap]
  bool stack = false;  // [stack]
};

/// "BEGIN-END PERMISSIONS OFFSET DEVICE INODE PATH", or false for the lines of
/// figures that follow it.
bool ParseMapping(std::string_view line, Mapping& mapping) {
  if (line.empty() || (line[0] >= 'A' && line[0] <= 'Z')) return false;
  mapping = {};
  mapping.range.begin = TakeNumber(line, 16);
  if (line.empty() || line[0] != '-') return false;
  line.remove_prefix(1);
  mapping.range.end = TakeNumber(line, 16);
  if (line.size() < 6) return false;
  mapping.readable = line[1] == 'r';
  mapping.writable = line[2] == 'w';
  mapping.shared = line[4] == 's';
  for (int field = 0; field < 4; ++field) {  // To the inode.
    line.remove_prefix(std::min(line.find(' '), line.size()));
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  }
  mapping.of_file = TakeNumber(line, 10) != 0;
  mapping.heap = line.ends_with("[heap]");
  mapping.stack = line.ends_with("[stack]");
  return true;
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

  /// A mapping with `anon` bytes of anonymous pages.
  void Add(const Mapping& mapping, int64_t anon) {
    bool after_guard = guard_end_ == mapping.range.begin;
    bool is_guard = !mapping.readable && !mapping.writable &&
                    mapping.range.end - mapping.range.begin <= kMostGuardBytes;
    guard_end_ = is_guard ? mapping.range.end : 0;
    memory_.anon += anon;
    if (anon == 0) return;
    if (mapping.stack) {
      memory_.stacks += anon;
    } else if (mapping.heap) {
      memory_.malloc += anon;
    } else if (mapping.of_file || mapping.shared || !mapping.readable) {
      memory_.module_data += anon;
    } else {
      AddUnnamed(mapping, anon, after_guard);
    }
  }
  ResidentMemory& memory() { return memory_; }

 private:
  /// The heap of a further arena of malloc: heap_info at its start leads to the
  /// arena, right behind the heap_info of its first heap (malloc/arena.c).
  static bool IsMallocHeap(const Mapping& mapping, Residence& residence) {
    constexpr uintptr_t kMostHeader = 256;
    uintptr_t begin = mapping.range.begin;
    return (begin & (kMallocHeap - 1)) == 0 && residence.Has(begin) &&
           (Word(begin) & (kMallocHeap - 1)) < kMostHeader && Word(begin) != 0;
  }

  void AddUnnamed(const Mapping& mapping, int64_t anon, bool after_guard) {
    auto [begin, end] = mapping.range;
    residence_.SetEnd(end);
    if (IsMallocHeap(mapping, residence_)) {
      memory_.malloc += anon;
      return;
    }
    if (after_guard && !HoldsArena(begin, end)) {
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
        if (size_t chunk = MappedChunk(page, end); chunk > 0) {
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
    auto after =
        std::upper_bound(modules_.begin(), modules_.end(), page + kPage - 1,
                         [](uintptr_t at, const AddressRange& range) {
                           return at < range.begin;
                         });
    return after != modules_.begin() && (after - 1)->end > page;
  }
  uintptr_t NextResident(uintptr_t page, uintptr_t end) {
    while (page < end && !residence_.Has(page)) page += kPage;
    return page;
  }
  /// The size of a block that malloc has mapped on its own and that starts
  /// here, else 0: no previous size, whole pages, the mark "mapped".
  static size_t MappedChunk(uintptr_t page, uintptr_t end) {
    constexpr uint64_t kMapped = 2;
    constexpr uint64_t kMarks = 7;
    uint64_t size = Word(page + 8);
    if (Word(page) != 0 || (size & kMarks) != kMapped) return 0;
    size &= ~kMarks;
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
  bool has_mapping = false;
  bool read = EachLine("/proc/self/smaps", [&](std::string_view line) {
    constexpr std::string_view kAnonymous = "Anonymous:";
    if (ParseMapping(line, mapping)) {
      has_mapping = true;
    } else if (has_mapping && line.starts_with(kAnonymous)) {
      line.remove_prefix(kAnonymous.size());
      line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
      classifier.Add(mapping, int64_t(TakeNumber(line, 10)) * 1024);
      has_mapping = false;
    }
  });
  return read ? classifier.memory() : ResidentMemory{};
}

}  // namespace inspector
