#include "inspector/agent/process_facts.h"

#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "inspector/agent/proc_text.h"

namespace inspector {

int64_t MonotonicMicroseconds() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000L + now.tv_nsec / 1000;
}

namespace {

/// Not by gmtime_r: it holds the C library's lock on the time zone, and a
/// process that is forked meanwhile could never ask for the time of day.
std::string Iso(time_t time) {
  std::chrono::sys_seconds moment{std::chrono::seconds(time)};
  auto day = std::chrono::floor<std::chrono::days>(moment);
  std::chrono::year_month_day date(day);
  std::chrono::hh_mm_ss clock(moment - day);
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02dZ",
                static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()),
                static_cast<unsigned>(date.day()),
                static_cast<int>(clock.hours().count()),
                static_cast<int>(clock.minutes().count()),
                static_cast<int>(clock.seconds().count()));
  return text;
}

}  // namespace

ProcessMemory ReadProcessMemory() {
  std::string status = ReadFile("/proc/self/status");
  ProcessMemory memory;
  memory.rss = KibibytesAfter(status, "VmRSS:");
  memory.anon = KibibytesAfter(status, "RssAnon:");
  memory.file = KibibytesAfter(status, "RssFile:");
  memory.shared = KibibytesAfter(status, "RssShmem:");
  memory.swap = KibibytesAfter(status, "VmSwap:");
  memory.address_space = KibibytesAfter(status, "VmSize:");
  struct rlimit limit = {};
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    memory.address_space_limit = static_cast<int64_t>(limit.rlim_cur);
  memory.threads = NumberAfter(status, "Threads:");
  return memory;
}

ProcessUse ReadProcessUse() {
  ProcessUse use;
  std::string stat = ReadFile("/proc/self/stat");
  // Behind the name, which may hold anything, comes the blank before field 3.
  size_t end_of_name = stat.rfind(')');
  const char* field =
      end_of_name == std::string::npos ? "" : stat.c_str() + end_of_name + 1;
  for (int number = 3; number < 22 && field != nullptr; ++number)
    field = std::strchr(field + 1, ' ');
  if (field != nullptr) use.start_ticks = std::strtoll(field, nullptr, 10);
  timespec used = {};
  if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0)
    use.cpu_ms = used.tv_sec * 1000L + used.tv_nsec / 1'000'000;
  if (DIR* folder = opendir("/proc/self/fd")) {
    int64_t count = -1;  // The folder itself.
    while (const dirent* entry = readdir(folder))
      count += entry->d_name[0] != '.' ? 1 : 0;
    closedir(folder);
    use.descriptors = count;
  }
  return use;
}

AnonymousMemory ReadAnonymousMemory() {
  auto from_rollup = [] {
    return KibibytesAfter(ReadFile("/proc/self/smaps_rollup"), "Anonymous:");
  };
  // Plain, as a child that is forked while a static is being initialized would
  // wait for that for ever.
  enum class Source { kUnknown, kRollup, kStatus };
  static Source source = Source::kUnknown;
  if (source == Source::kUnknown) {
    constexpr int64_t kLongestUs = 50'000;
    int64_t begin = MonotonicMicroseconds();
    source = from_rollup() && MonotonicMicroseconds() - begin < kLongestUs
                 ? Source::kRollup
                 : Source::kStatus;
  }
  if (source == Source::kRollup)
    return {from_rollup(), "Anonymous of smaps_rollup"};
  return {KibibytesAfter(ReadFile("/proc/self/status"), "RssAnon:"),
          "RssAnon of status"};
}

std::optional<MallocFigures> ReadMalloc() {
  int64_t before = MonotonicMicroseconds();
  struct mallinfo2 figures = mallinfo2();
  // Another allocator in front of glibc's leaves that one unused.
  if (figures.arena == 0 && figures.hblkhd == 0) return std::nullopt;
  MallocFigures result;
  result.took_us = MonotonicMicroseconds() - before;
  result.used = static_cast<int64_t>(figures.uordblks + figures.hblkhd);
  result.free = static_cast<int64_t>(figures.fordblks);
  result.top = static_cast<int64_t>(figures.keepcost);
  return result;
}

std::vector<Package> ListPackages(const std::vector<std::string>& path) {
  std::vector<Package> packages;
  for (const std::string& directory : path) {
    std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(directory.c_str()),
                                                closedir);
    if (!entries) continue;
    size_t first_here = packages.size();
    while (const dirent* entry = readdir(entries.get())) {
      constexpr std::string_view kSuffix = ".dist-info";
      std::string name = entry->d_name;
      size_t dash = name.find('-');
      if (dash == std::string::npos ||
          !std::string_view(name).ends_with(kSuffix))
        continue;
      Package package{
          name.substr(0, dash),
          name.substr(dash + 1, name.size() - dash - 1 - kSuffix.size())};
      std::replace(package.name.begin(), package.name.end(), '_', '-');
      std::transform(package.name.begin(), package.name.end(),
                     package.name.begin(),
                     [](unsigned char c) { return std::tolower(c); });
      bool known = std::any_of(
          packages.begin(), packages.begin() + long(first_here),
          [&](const Package& other) { return other.name == package.name; });
      if (!known) packages.push_back(std::move(package));
    }
  }
  std::sort(packages.begin(), packages.end(),
            [](const Package& a, const Package& b) { return a.name < b.name; });
  return packages;
}

int ThreadCount() {
  // Field 20 of /proc/self/stat; the name may hold spaces.
  std::string stat = ReadFile("/proc/self/stat");
  size_t at = stat.rfind(')');
  if (at == std::string::npos) return 0;
  int count = 0;
  std::sscanf(stat.c_str() + at + 1,
              " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d "
              "%*d %*d %d",
              &count);
  return count;
}

std::string ExecutablePath() {
  char path[4096];
  ssize_t size = readlink("/proc/self/exe", path, sizeof path);
  return size <= 0 ? "" : std::string(path, static_cast<size_t>(size));
}

std::string StartedAt() {
  // Field 22 of /proc/self/stat, in ticks since boot; the name may hold spaces.
  std::string stat = ReadFile("/proc/self/stat");
  size_t at = stat.rfind(')');
  if (at == std::string::npos) return {};
  const char* text = stat.c_str() + at + 1;
  for (int field = 3; field <= 22; ++field) {
    while (*text == ' ') ++text;
    if (field == 22) break;
    while (*text != ' ' && *text != 0) ++text;
  }
  double seconds = std::strtod(text, nullptr) / sysconf(_SC_CLK_TCK);
  timespec now = {};
  timespec boot = {};
  clock_gettime(CLOCK_REALTIME, &now);
  clock_gettime(CLOCK_BOOTTIME, &boot);
  return Iso(now.tv_sec - boot.tv_sec + static_cast<time_t>(seconds));
}

std::string TimeNow() { return Iso(time(nullptr)); }

}  // namespace inspector
