#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "collector/sample/sampler.h"

namespace collector {

/// Field 22 of /proc/PID/stat, which with the pid tells one process for ever;
/// none if there is no such process (a zombie is none).
std::optional<int64_t> StartTicks(int pid);

/// Reads the memory, CPU, threads and descriptors of one process, from this
/// machine's files. The source of `memory.anon` is chosen once, at
/// construction, so that a series never mixes two definitions.
class ProcessSampler : public Sampler {
 public:
  /// Throws Error if there is no such process or it may not be read. `root`
  /// stands for "/" and is there for tests.
  explicit ProcessSampler(int pid, std::filesystem::path root = "/");

  int pid() const override { return pid_; }
  int64_t start_ticks() const override { return start_ticks_; }
  /// E.g. `total_rss of cgroup /service/a (v1)`.
  const std::string& memory_source() const override { return memory_source_; }
  bool Alive() const override;
  std::optional<Figures> Read() override;

 private:
  enum class Source { kCgroupV1, kCgroupV2, kSmapsRollup, kStatus };

  bool UseOwnCgroup();
  std::filesystem::path Proc(const char* name) const;

  int pid_;
  std::filesystem::path root_;
  int64_t start_ticks_ = 0;
  Source source_ = Source::kStatus;
  std::filesystem::path cgroup_;
  std::string memory_source_;
};

}  // namespace collector
