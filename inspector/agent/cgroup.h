#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace inspector {

/// The memory cgroup that this process is in, if it can be read here.
struct CgroupMemory {
  int version = 0;
  std::string directory;
  std::optional<int64_t> anon;
  std::optional<int64_t> usage;
  std::optional<int64_t> limit;
  std::optional<int64_t> reclaimable;  // Page cache that nobody misses.
};
std::optional<CgroupMemory> ReadCgroup();

/// What can still be used before the kernel ends somebody.
struct Headroom {
  int64_t free = 0;
  int64_t limit = 0;
  std::string of;  // The cgroup's directory, or "the machine".
};

/// The cgroups, version 1 or 2, that limit this process: its own and those
/// above it that can be seen. Found once; figures are read anew by each call.
/// No GIL.
class Cgroups {
 public:
  /// `root`: what to put before /proc and /sys.
  explicit Cgroups(std::string root = "");

  /// Of the level, or the machine, that has least left. Page cache counts as
  /// free where the kernel would take it back.
  std::optional<Headroom> ReadHeadroom() const;
  /// Whether an OOM ends all processes of the group (memory.oom.group).
  bool KillsTogether() const;
  /// How often the processors were withheld so far, in all levels.
  int64_t ReadThrottled() const;
  /// The process's own memory cgroup.
  std::optional<CgroupMemory> ReadMemory() const;

 private:
  /// From the process's own group upward, those that hold `file`.
  std::vector<std::string> Levels(const std::string& mount,
                                  const std::string& path,
                                  const char* file) const;

  std::string root_;
  int version_ = 0;
  std::vector<std::string> memory_;
  std::vector<std::string> cpu_;
};

}  // namespace inspector
