// Anonymous memory is the signal: page cache is not the service's (design.md).
// A cgroup of its own counts every page once. Where the process shares its
// cgroup, `Anonymous` of smaps_rollup is taken, not Pss: while a snapshot's
// child lives it shares every page, which halves Pss_Anon for that moment.
// RssAnon of status is the last resort, since Linux 6.2 counts it per CPU and
// reads it without adding up (off by some hundred kB).

#include "collector/sample/process_sampler.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "collector/error.h"
#include "collector/store/run.h"
#include "injector/proc.h"

namespace collector {

namespace fs = std::filesystem;

using injector::ReadFile;

namespace {

/// Longest time that one reading of smaps_rollup may take: it holds the
/// target's memory map lock meanwhile. Linear in RSS, about 16 ms per GB.
constexpr std::chrono::milliseconds kLongestRollup{50};

/// `key value` lines of memory.stat, or `Key:  value kB` lines of /proc files.
std::map<std::string, double> ReadFigures(const fs::path& path, double unit) {
  std::map<std::string, double> figures;
  std::istringstream lines(ReadFile(path).value_or(""));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key;
    double value = 0;
    if (words >> key >> value) {
      if (key.back() == ':') key.pop_back();
      figures[key] = value * unit;
    }
  }
  return figures;
}

/// The fields of /proc/PID/stat from the third on; the second, the name, may
/// hold spaces and parentheses.
std::vector<std::string> StatFields(const fs::path& path) {
  std::string text = ReadFile(path).value_or("");
  size_t name_end = text.rfind(')');
  std::vector<std::string> fields;
  if (name_end == std::string::npos) return fields;
  std::istringstream words(text.substr(name_end + 1));
  for (std::string word; words >> word;) fields.push_back(word);
  return fields;
}

int64_t Field(const std::vector<std::string>& fields, size_t number) {
  return fields.size() > number - 3 ? std::stoll(fields[number - 3]) : 0;
}

std::optional<int64_t> StartTicksAt(const fs::path& stat) {
  std::vector<std::string> fields = StatFields(stat);
  if (fields.size() < 20 || fields[0] == "Z" || fields[0] == "X") {
    return std::nullopt;
  }
  return Field(fields, 22);
}

std::set<int> PidsIn(const fs::path& cgroup) {
  std::set<int> pids;
  std::error_code ignored;
  std::istringstream own(ReadFile(cgroup / "cgroup.procs").value_or(""));
  for (int pid = 0; own >> pid;) pids.insert(pid);
  for (const auto& entry : fs::directory_iterator(cgroup, ignored)) {
    if (entry.is_directory(ignored)) pids.merge(PidsIn(entry.path()));
  }
  return pids;
}

/// Whether `pid` is `ancestor` or descends from it.
bool Descends(const fs::path& root, int pid, int ancestor) {
  for (int steps = 0; pid > 1 && steps < 1000; ++steps) {
    if (pid == ancestor) return true;
    std::vector<std::string> fields =
        StatFields(root / "proc" / std::to_string(pid) / "stat");
    if (fields.empty()) return true;  // Ended meanwhile: counts for nobody.
    pid = static_cast<int>(Field(fields, 4));
  }
  return pid == ancestor;
}

/// Where the controller `type` (cgroup2) or option (v1 `memory`) is mounted.
std::optional<fs::path> Mounted(const fs::path& root, bool v2) {
  for (const injector::Mount& mount : injector::ReadMounts(root)) {
    bool memory = mount.options.find(",memory,") != std::string::npos;
    if (v2 ? mount.type == "cgroup2" : mount.type == "cgroup" && memory) {
      return root / mount.path.relative_path();
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<int64_t> StartTicks(int pid) {
  return StartTicksAt(fs::path("/proc") / std::to_string(pid) / "stat");
}

fs::path ProcessSampler::Proc(const char* name) const {
  return root_ / "proc" / std::to_string(pid_) / name;
}

ProcessSampler::ProcessSampler(int pid, fs::path root)
    : pid_(pid), root_(std::move(root)) {
  std::optional<int64_t> start = StartTicksAt(Proc("stat"));
  if (!start) {
    throw Error(fmt::format(
        "there is no process {}: give the pid of a running service", pid));
  }
  start_ticks_ = *start;
  if (UseOwnCgroup()) return;
  auto begin = std::chrono::steady_clock::now();
  auto rollup = ReadFigures(Proc("smaps_rollup"), 1024);
  auto took = std::chrono::steady_clock::now() - begin;
  if (rollup.contains("Anonymous") && took < kLongestRollup) {
    source_ = Source::kSmapsRollup;
    memory_source_ = fmt::format("Anonymous of /proc/{}/smaps_rollup", pid);
    return;
  }
  if (!ReadFigures(Proc("status"), 1024).contains("RssAnon")) {
    throw Error(fmt::format(
        "process {}: its memory cannot be read; run cyclescope as its user or "
        "as root",
        pid));
  }
  memory_source_ = fmt::format("RssAnon of /proc/{}/status", pid);
}

bool ProcessSampler::UseOwnCgroup() {
  std::istringstream lines(ReadFile(Proc("cgroup")).value_or(""));
  for (std::string line; std::getline(lines, line);) {
    size_t first = line.find(':');
    size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::string controllers =
        "," + line.substr(first + 1, second - first - 1) + ",";
    bool v2 = controllers == ",,";
    if (!v2 && controllers.find(",memory,") == std::string::npos) continue;
    fs::path path = line.substr(second + 1);
    std::optional<fs::path> mount = Mounted(root_, v2);
    if (path == "/" || !mount) continue;
    fs::path cgroup = *mount / path.relative_path();
    const char* key = v2 ? "anon" : "total_rss";
    if (!ReadFigures(cgroup / "memory.stat", 1).contains(key)) continue;
    std::set<int> pids = PidsIn(cgroup);
    bool own = pids.contains(pid_);
    for (int other : pids) own = own && Descends(root_, other, pid_);
    if (!own) continue;
    source_ = v2 ? Source::kCgroupV2 : Source::kCgroupV1;
    cgroup_ = cgroup;
    memory_source_ = fmt::format("{} of cgroup {} ({})", key, path.string(),
                                 v2 ? "v2" : "v1");
    return true;
  }
  return false;
}

bool ProcessSampler::Alive() const {
  return StartTicksAt(Proc("stat")) == start_ticks_;
}

std::optional<Sampler::Figures> ProcessSampler::Read() {
  Figures figures;
  std::vector<std::string> stat = StatFields(Proc("stat"));
  auto status = ReadFigures(Proc("status"), 1024);
  std::map<std::string, double> source;
  switch (source_) {
    case Source::kCgroupV1:
    case Source::kCgroupV2:
      source = ReadFigures(cgroup_ / "memory.stat", 1);
      break;
    case Source::kSmapsRollup:
      source = ReadFigures(Proc("smaps_rollup"), 1024);
      break;
    case Source::kStatus:
      source = status;
      break;
  }
  // Looked at last: whatever was read belonged to this process.
  if (!Alive()) return std::nullopt;
  auto add = [&figures](const char* series, const auto& from,
                        std::initializer_list<const char*> keys) {
    for (const char* key : keys) {
      if (auto found = from.find(key); found != from.end()) {
        figures.emplace_back(series, found->second);
        return;
      }
    }
  };
  switch (source_) {
    case Source::kCgroupV1:
      add(kAnon, source, {"total_rss"});
      add("memory.file", source, {"total_cache"});
      add("memory.swap", source, {"total_swap"});
      break;
    case Source::kCgroupV2:
      add(kAnon, source, {"anon"});
      add("memory.file", source, {"file"});
      break;
    case Source::kSmapsRollup:
      add(kAnon, source, {"Anonymous"});
      add("memory.swap", source, {"Swap"});
      add("memory.file", status, {"RssFile"});
      break;
    case Source::kStatus:
      add(kAnon, source, {"RssAnon"});
      add("memory.file", source, {"RssFile"});
      add("memory.swap", source, {"VmSwap"});
      break;
  }
  add("memory.rss", status, {"VmRSS"});
  static const double kTicks = static_cast<double>(sysconf(_SC_CLK_TCK));
  figures.emplace_back("cpu.seconds",
                       (Field(stat, 14) + Field(stat, 15)) / kTicks);
  figures.emplace_back("threads", Field(stat, 20));
  std::error_code failure;
  double descriptors = 0;
  fs::directory_iterator entry(Proc("fd"), failure);
  for (; !failure && entry != fs::directory_iterator();
       entry.increment(failure)) {
    ++descriptors;
  }
  if (!failure) figures.emplace_back("descriptors", descriptors);
  return figures;
}

}  // namespace collector
