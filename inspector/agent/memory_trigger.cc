#include "inspector/agent/memory_trigger.h"

#include <sys/resource.h>

#include <algorithm>

#include "inspector/agent/process_facts.h"

namespace inspector {
namespace {

constexpr int64_t kNearUs = 1'000'000;
constexpr int64_t kFarUs = 5'000'000;  // Below half of the share.
constexpr double kFallPercent = 5;

}  // namespace

std::optional<LimitedMemory> ReadLimitedMemory() {
  std::optional<CgroupMemory> cgroup = ReadCgroup();
  if (cgroup && cgroup->usage && cgroup->limit && *cgroup->limit > 0)
    return LimitedMemory{*cgroup->usage - cgroup->reclaimable.value_or(0),
                         *cgroup->limit};
  struct rlimit address_space = {};
  std::optional<int64_t> size = ReadProcessMemory().address_space;
  if (getrlimit(RLIMIT_AS, &address_space) == 0 && size &&
      address_space.rlim_cur != RLIM_INFINITY && address_space.rlim_cur > 0)
    return LimitedMemory{*size, static_cast<int64_t>(address_space.rlim_cur)};
  return std::nullopt;
}

MemoryTrigger::MemoryTrigger(double at_percent) : at_percent_(at_percent) {
  if (at_percent_ > 0 && !ReadLimitedMemory())
    reason_ =
        "CYCLESCOPE_AT has nothing to watch: neither the memory cgroup nor "
        "RLIMIT_AS limits this process, or they cannot be read here";
}

bool MemoryTrigger::Look(int64_t now_us) {
  std::optional<LimitedMemory> memory = ReadLimitedMemory();
  percent_ = memory ? 100.0 * static_cast<double>(memory->used) /
                          static_cast<double>(memory->limit)
                    : 0;
  next_us_ = now_us + (percent_ < at_percent_ / 2 ? kFarUs : kNearUs);
  bool passed = percent_ >= at_percent_ && !above_;
  if (percent_ >= at_percent_) above_ = true;
  if (percent_ < at_percent_ - kFallPercent) above_ = false;
  return passed;
}

}  // namespace inspector
