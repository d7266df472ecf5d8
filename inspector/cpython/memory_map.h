#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace inspector {

/// [begin, end).
struct AddressRange {
  uintptr_t begin = 0;
  uintptr_t end = 0;
  bool Contains(uintptr_t address) const {
    return address >= begin && address < end;
  }
};

/// Of sorted, disjoint ranges the last that begins at or before `address`; null
/// if there is none. O(log ranges).
inline const AddressRange* LastAtOrBefore(std::span<const AddressRange> ranges,
                                          uintptr_t address) {
  auto after = std::upper_bound(
      ranges.begin(), ranges.end(), address,
      [](uintptr_t at, const AddressRange& range) { return at < range.begin; });
  return after == ranges.begin() ? nullptr : &*(after - 1);
}

/// Whether one of them holds all of [begin, begin + bytes).
inline bool HoldsAll(std::span<const AddressRange> ranges, uintptr_t begin,
                     size_t bytes) {
  const AddressRange* range = LastAtOrBefore(ranges, begin);
  return range != nullptr && begin < range->end && bytes <= range->end - begin;
}

/// The line of /proc/self/maps, or the first of an entry of smaps.
struct Mapping {
  AddressRange range;
  bool readable = false;
  bool writable = false;
  bool shared = false;
  bool of_file = false;   // It has an inode.
  std::string_view path;  // Empty: anonymous. "[heap]", "[stack]", a file's.
};

/// "BEGIN-END rwxp OFFSET DEVICE INODE    PATH" (proc(5)); false for the lines
/// of figures in smaps. `mapping.path` points into the line.
inline bool ParseMapping(std::string_view line, Mapping& mapping) {
  mapping = {};
  const char* end = line.data() + line.size();
  auto first = std::from_chars(line.data(), end, mapping.range.begin, 16);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != '-')
    return false;
  auto last = std::from_chars(first.ptr + 1, end, mapping.range.end, 16);
  if (last.ec != std::errc() || end - last.ptr < 6) return false;
  mapping.readable = last.ptr[1] == 'r';
  mapping.writable = last.ptr[2] == 'w';
  mapping.shared = last.ptr[4] == 's';
  line.remove_prefix(size_t(last.ptr + 1 - line.data()));
  auto skip_field = [&line] {
    line.remove_prefix(std::min(line.find(' '), line.size()));
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  };
  for (int field = 0; field < 3; ++field) skip_field();  // To the inode.
  mapping.of_file = !line.empty() && line[0] != '0';
  skip_field();
  mapping.path = line;
  return true;
}

/// Calls `visit(std::string_view)` for every line of a file, which lives until
/// it returns. Safe in the child: no allocation, no lock. False if nothing can
/// be read.
template <typename Visit>
bool ForEachLine(const char* path, Visit visit) {
  int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  char text[1 << 14];
  size_t held = 0;
  bool any = false;
  for (ssize_t size;
       (size = read(descriptor, text + held, sizeof text - held)) > 0;) {
    any = true;
    std::string_view rest(text, held + size_t(size));
    for (size_t end; (end = rest.find('\n')) != std::string_view::npos;) {
      visit(rest.substr(0, end));
      rest.remove_prefix(end + 1);
    }
    // A line that fills all of it is none of ours.
    held = rest.size() < sizeof text ? rest.size() : 0;
    std::memmove(text, rest.data(), held);
  }
  close(descriptor);
  return any;
}

/// Calls `visit(const Mapping&)` for every mapping of this process, by address.
/// As ForEachLine.
template <typename Visit>
bool ForEachMapping(Visit visit) {
  return ForEachLine("/proc/self/maps", [&visit](std::string_view line) {
    if (Mapping mapping; ParseMapping(line, mapping)) visit(mapping);
  });
}

}  // namespace inspector
