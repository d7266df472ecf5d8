#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace inspector {

/// A line of /proc/self/maps.
struct Mapping {
  uintptr_t begin = 0;
  uintptr_t end = 0;
  bool readable = false;
  bool writable = false;
  uint64_t offset = 0;    // In the file.
  std::string_view path;  // Empty: anonymous. "[heap]", "[stack]", a file's.
};

/// Calls `visit(const Mapping&)` for every mapping of this process, by address;
/// `path` lives until it returns. Safe in the child: no allocation, no lock.
/// False if the file cannot be read. Format: proc(5).
template <typename Visit>
bool ForEachMapping(Visit visit) {
  int descriptor = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  char text[1 << 14];
  size_t held = 0;  // The kernel gives whole lines as far as they fit.
  for (ssize_t size;
       (size = read(descriptor, text + held, sizeof text - held)) > 0;) {
    const char* at = text;
    const char* end = text + held + size;
    while (at < end) {
      auto newline =
          static_cast<const char*>(std::memchr(at, '\n', size_t(end - at)));
      if (newline == nullptr) break;
      Mapping mapping;
      auto first = std::from_chars(at, newline, mapping.begin, 16);
      auto last = std::from_chars(first.ptr + 1, newline, mapping.end, 16);
      // " rw-p OFFSET DEVICE INODE    PATH"
      if (newline - last.ptr > 6) {
        mapping.readable = last.ptr[1] == 'r';
        mapping.writable = last.ptr[2] == 'w';
        std::from_chars(last.ptr + 6, newline, mapping.offset, 16);
      }
      std::string_view line(at, size_t(newline - at));
      size_t path = line.find_first_of("/[", size_t(last.ptr - at));
      if (path != std::string_view::npos) mapping.path = line.substr(path);
      visit(mapping);
      at = newline + 1;
    }
    held = size_t(end - at);
    if (held == sizeof text) held = 0;  // A line that long is none of ours.
    std::memmove(text, at, held);
  }
  close(descriptor);
  return true;
}

}  // namespace inspector
