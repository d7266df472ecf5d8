#include "inspector/agent/cgroup.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "inspector/agent/proc_text.h"

namespace inspector {
namespace {

constexpr int64_t kNoLimit = int64_t{1} << 60;

std::optional<int64_t> ReadNumber(const std::string& path) {
  std::string text = ReadFile(path);
  if (text.empty() || text.rfind("max", 0) == 0) return std::nullopt;
  return std::atoll(text.c_str());
}

CgroupMemory ReadLevel(const std::string& directory, int version) {
  CgroupMemory memory;
  bool v1 = version == 1;
  memory.version = version;
  memory.directory = directory;
  std::string stat = ReadFile(directory + "/memory.stat");
  memory.anon = NumberAfter(stat, v1 ? "total_rss " : "anon ");
  memory.reclaimable =
      NumberAfter(stat, v1 ? "total_inactive_file " : "inactive_file ");
  memory.usage = ReadNumber(
      directory + (v1 ? "/memory.usage_in_bytes" : "/memory.current"));
  memory.limit =
      ReadNumber(directory + (v1 ? "/memory.limit_in_bytes" : "/memory.max"));
  if (memory.limit && *memory.limit >= kNoLimit) memory.limit.reset();
  return memory;
}

}  // namespace

Cgroups::Cgroups(std::string root) : root_(std::move(root)) {
  // /proc/PID/cgroup: "4:memory:/path" (v1), "0::/path" (v2), or both.
  std::string groups = ReadFile(root_ + "/proc/self/cgroup");
  std::string unified, memory, cpu, cpu_mount;
  for (size_t begin = 0; begin < groups.size();) {
    size_t end = std::min(groups.find('\n', begin), groups.size());
    std::string line = groups.substr(begin, end - begin);
    begin = end + 1;
    size_t first = line.find(':');
    size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    std::string names = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    if (names.empty()) unified = path;
    if (("," + names + ",").find(",memory,") != std::string::npos)
      memory = path;
    if (("," + names + ",").find(",cpu,") != std::string::npos) {
      cpu = path;
      cpu_mount = names;
    }
  }
  const std::string mount = root_ + "/sys/fs/cgroup";
  version_ = !memory.empty() ? 1 : !unified.empty() ? 2 : 0;
  if (version_ == 1)
    memory_ = Levels(mount + "/memory", memory, "/memory.stat");
  if (version_ == 2) memory_ = Levels(mount, unified, "/memory.stat");
  if (!cpu.empty()) {
    cpu_ = Levels(mount + "/" + cpu_mount, cpu, "/cpu.stat");
    if (cpu_.empty()) cpu_ = Levels(mount + "/cpu", cpu, "/cpu.stat");
  } else if (!unified.empty()) {
    cpu_ = Levels(mount, unified, "/cpu.stat");
  }
}

std::vector<std::string> Cgroups::Levels(const std::string& mount,
                                         const std::string& path,
                                         const char* file) const {
  std::vector<std::string> levels;
  // In a container the path may be the host's; the mount shows our own group
  // then and nothing above it.
  for (std::string at = path == "/" ? "" : path;;
       at.erase(at.rfind('/') == std::string::npos ? 0 : at.rfind('/'))) {
    std::string directory = mount + at;
    if (access((directory + file).c_str(), R_OK) == 0)
      levels.push_back(directory);
    if (at.empty()) break;
  }
  return levels;
}

std::optional<CgroupMemory> Cgroups::ReadMemory() const {
  if (memory_.empty()) return std::nullopt;
  return ReadLevel(memory_.front(), version_);
}

std::optional<Headroom> Cgroups::ReadHeadroom() const {
  std::optional<Headroom> least;
  auto consider = [&least](Headroom headroom) {
    if (!least || headroom.free < least->free) least = std::move(headroom);
  };
  for (const std::string& directory : memory_) {
    CgroupMemory level = ReadLevel(directory, version_);
    if (!level.limit || !level.usage) continue;
    int64_t used = *level.usage - level.reclaimable.value_or(0);
    consider({*level.limit - used, *level.limit, directory});
  }
  std::string machine = ReadFile(root_ + "/proc/meminfo");
  auto available = KibibytesAfter(machine, "MemAvailable:");
  auto total = KibibytesAfter(machine, "MemTotal:");
  if (available && total) consider({*available, *total, "the machine"});
  return least;
}

bool Cgroups::KillsTogether() const {
  return std::any_of(memory_.begin(), memory_.end(),
                     [](const std::string& directory) {
                       return ReadNumber(directory + "/memory.oom.group") == 1;
                     });
}

int64_t Cgroups::ReadThrottled() const {
  int64_t times = 0;
  for (const std::string& directory : cpu_)
    times += NumberAfter(ReadFile(directory + "/cpu.stat"), "nr_throttled ")
                 .value_or(0);
  return times;
}

std::optional<CgroupMemory> ReadCgroup() { return Cgroups().ReadMemory(); }

}  // namespace inspector
