#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "inspector/agent/cgroup.h"

namespace inspector {

/// Memory of this process in bytes, from /proc/self/status and the cgroup. All
/// of it without the GIL.
struct ProcessMemory {
  std::optional<int64_t> rss;
  std::optional<int64_t> anon;
  std::optional<int64_t> file;
  std::optional<int64_t> shared;
  std::optional<int64_t> swap;
  std::optional<int64_t> address_space;
  std::optional<int64_t> address_space_limit;  // RLIMIT_AS, if there is one.
  std::optional<int64_t> threads;
};
ProcessMemory ReadProcessMemory();

/// What tells this process from another that gets its pid, and what it has used
/// so far. Without the GIL.
struct ProcessUse {
  int64_t start_ticks = 0;  // Field 22 of /proc/self/stat.
  int64_t cpu_ms = 0;       // Of all threads, user and system.
  std::optional<int64_t> descriptors;
};
ProcessUse ReadProcessUse();

/// The process's anonymous memory in bytes, from the source that was chosen by
/// the first call, so that a series never mixes two definitions: `Anonymous` of
/// smaps_rollup, which counts every page; RssAnon of status, off by some
/// hundred kB since Linux 6.2, where that cannot be read or took over 50 ms (it
/// keeps the memory map's lock meanwhile, 16 ms for each GB). One thread at a
/// time.
struct AnonymousMemory {
  std::optional<int64_t> bytes;
  const char* source;
};
AnonymousMemory ReadAnonymousMemory();

/// What glibc's malloc says of itself. Takes each arena's lock, so never in the
/// child; null when another allocator serves the process.
struct MallocFigures {
  int64_t used = 0;
  int64_t free = 0;
  int64_t top = 0;  // Of `free`: at the end of the heap.
  int64_t took_us = 0;
};
std::optional<MallocFigures> ReadMalloc();

/// Installed packages as `name`, `version`, from the names of the *.dist-info
/// directories on `path` (PEP 376, PEP 427); the first on the path wins.
struct Package {
  std::string name;
  std::string version;
};
std::vector<Package> ListPackages(const std::vector<std::string>& path);

/// The kernel's count, read as CPython 3.12 does; 0 if it cannot be read.
int ThreadCount();

std::string ExecutablePath();
/// When the process started and now, as 2026-11-24T08:00:00Z.
std::string StartedAt();
std::string TimeNow();
int64_t MonotonicMicroseconds();

}  // namespace inspector
