#include "inspector/agent/memory_trigger.h"

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
  ProcessMemory memory = ReadProcessMemory();
  if (memory.address_space && memory.address_space_limit.value_or(0) > 0)
    return LimitedMemory{*memory.address_space, *memory.address_space_limit};
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
