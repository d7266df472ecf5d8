#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace inspector {

/// CYCLESCOPE_AT: notices when the memory that counts against the limit passes
/// a share of it. The limit is the memory cgroup's, without the page cache that
/// the kernel gives back, or else RLIMIT_AS.
class MemoryTrigger {
 public:
  /// 0: watches nothing.
  explicit MemoryTrigger(double at_percent);
  /// Why there is nothing to watch; else empty.
  const std::string& reason() const { return reason_; }
  bool watches() const { return at_percent_ > 0 && reason_.empty(); }
  /// When to look again, on the clock of MonotonicMicroseconds.
  int64_t next_us() const { return next_us_; }
  /// In use at the last look, in percent of the limit.
  double percent() const { return percent_; }
  /// Looks. True when the share was passed upward; again only after a fall to
  /// five points below it.
  bool Look(int64_t now_us);

 private:
  double at_percent_;
  double percent_ = 0;
  std::string reason_;
  int64_t next_us_ = 0;
  bool above_ = false;
};

/// Bytes in use and the limit that ends the process when they reach it.
struct LimitedMemory {
  int64_t used = 0;
  int64_t limit = 0;
};
std::optional<LimitedMemory> ReadLimitedMemory();

}  // namespace inspector
