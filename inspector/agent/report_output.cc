#include "inspector/agent/report_output.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>
#define JSON_NO_IO
#include <nlohmann/json.hpp>

#include "inspector/agent/connection.h"
#include "inspector/agent/process_facts.h"

namespace inspector {
namespace {

using nlohmann::ordered_json;

std::string Dump(const ordered_json& value) {
  return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

/// What CountsLine needs of a report; types and cycles may be thousands.
struct Counts {
  int64_t signatures = 0;
  int64_t cycles = 0;
  ordered_json rest;  // The report without what is not needed.
};

Counts CountsOf(const std::string& report) {
  constexpr size_t kMostTypes = 20;
  constexpr size_t kMostCycles = 5;
  Counts counts;
  size_t types = 0;
  auto keep = [&](int /*depth*/, ordered_json::parse_event_t event,
                  ordered_json& value) {
    if (event != ordered_json::parse_event_t::object_end) return true;
    if (value.contains("signature")) {
      counts.cycles += value.value("count", int64_t{0});
      return ++counts.signatures <= static_cast<int64_t>(kMostCycles);
    }
    if (value.contains("generations")) return ++types <= kMostTypes;
    return !value.contains("hash") && !value.contains("reason");
  };
  counts.rest = ordered_json::parse(report, keep, /*allow_exceptions=*/false);
  return counts;
}

/// {name: value} with the named members of `from` that are there.
ordered_json Members(const ordered_json& from,
                     std::initializer_list<const char*> names) {
  ordered_json result = ordered_json::object();
  for (const char* name : names)
    if (from.is_object() && from.contains(name)) result[name] = from[name];
  return result;
}

/// An object of JSON that grows up to a length.
class Line {
 public:
  explicit Line(const ordered_json& start) : text_(Dump(start)) {
    text_.pop_back();  // The bracket that closes it.
  }
  /// A member with as many of `entries` as there is room for; none, no member.
  void AddEntries(const char* name, const std::vector<ordered_json>& entries) {
    std::string member = std::string(",\"") + name + "\":[";
    bool any = false;
    for (const ordered_json& entry : entries) {
      std::string text = (any ? "," : "") + Dump(entry);
      constexpr size_t kEnd = 3;  // "]}\n"
      if (text_.size() + member.size() + text.size() + kEnd >= PIPE_BUF) break;
      member += text;
      any = true;
    }
    if (any) text_ += member + "]";
  }
  std::string Take() { return text_ + "}\n"; }

 private:
  std::string text_;
};

std::vector<ordered_json> Entries(const ordered_json& from,
                                  std::initializer_list<const char*> names) {
  std::vector<ordered_json> entries;
  for (const ordered_json& entry : from)
    entries.push_back(Members(entry, names));
  return entries;
}

ordered_json At(const ordered_json& from, const char* name) {
  return from.is_object() && from.contains(name) ? from[name] : ordered_json();
}

}  // namespace

std::string CountsLine(const std::string& report, int pid,
                       const char* trigger) {
  Counts counts = CountsOf(report);
  const ordered_json& rest = counts.rest;
  ordered_json heap = At(rest, "heap");
  ordered_json start = {{"schema", "cyclescope.counts/1"},
                        {"at", TimeNow()},
                        {"pid", pid},
                        {"trigger", trigger}};
  constexpr size_t kLongestSentence = 1000;
  if (At(rest, "error").is_string())
    start["error"] =
        rest["error"].get<std::string>().substr(0, kLongestSentence);
  start.update(Members(At(rest, "memory"), {"rss", "anon"}));
  start.update(Members(
      heap, {"objects", "bytes", "floating_objects", "floating_bytes"}));
  if (heap.is_object())
    start["cycles"] = {{"signatures", counts.signatures},
                       {"count", counts.cycles}};
  Line line(start);
  line.AddEntries(
      "watched", Entries(At(rest, "watched"),
                         {"type", "alive", "pinned", "floating", "in_flight"}));
  line.AddEntries("common", Entries(At(rest, "cycles"),
                                    {"id", "signature", "count", "pinned",
                                     "floating", "in_flight"}));
  line.AddEntries(
      "types", Entries(At(heap, "types"), {"type", "count", "bytes", "pinned",
                                           "floating", "in_flight"}));
  return line.Take();
}

void WriteToStderr(std::string_view line) {
  pollfd room = {STDERR_FILENO, POLLOUT, 0};
  if (poll(&room, 1, 0) <= 0 || (room.revents & POLLOUT) == 0) return;
  (void)!write(STDERR_FILENO, line.data(), line.size());
}

void Complain(const std::string& sentence) {
  WriteToStderr("cyclescope: " + sentence + "\n");
}

std::string ReportOutput::PathOf(int number) const {
  char digits[16];
  std::snprintf(digits, sizeof digits, "%05d", number);
  return directory_ + "/cyclescope-" + std::to_string(pid_) + "-" + digits +
         ".json";
}

int ReportOutput::LastNumber() const {
  int last = 0;
  std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(directory_.c_str()),
                                              closedir);
  std::string prefix = "cyclescope-" + std::to_string(pid_) + "-";
  while (const dirent* entry = entries ? readdir(entries.get()) : nullptr) {
    std::string_view name = entry->d_name;
    if (!name.starts_with(prefix)) continue;
    int number = std::atoi(entry->d_name + prefix.size());
    if (PathOf(number).ends_with("/" + std::string(name)))
      last = std::max(last, number);
  }
  return last;
}

void RemoveOldReports(const std::string& directory, size_t keep) {
  std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(directory.c_str()),
                                              closedir);
  if (!entries) return;
  std::vector<std::pair<int64_t, std::string>> reports;  // By time of writing.
  while (const dirent* entry = readdir(entries.get())) {
    int pid = 0;
    int number = 0;
    int length = 0;
    struct stat status = {};
    if (std::sscanf(entry->d_name, "cyclescope-%d-%d.json%n", &pid, &number,
                    &length) != 2 ||
        entry->d_name[length] != '\0' || length == 0 ||
        fstatat(dirfd(entries.get()), entry->d_name, &status,
                AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(status.st_mode) || status.st_uid != geteuid())
      continue;
    reports.emplace_back(
        status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec,
        entry->d_name);
  }
  if (reports.size() <= keep) return;
  auto first_kept = reports.end() - static_cast<ptrdiff_t>(keep);
  std::nth_element(reports.begin(), first_kept, reports.end());
  for (auto old = reports.begin(); old != first_kept; ++old)
    unlinkat(dirfd(entries.get()), old->second.c_str(), 0);
}

bool ReportOutput::WriteFile(const std::string& path,
                             const std::string& text) const {
  std::string temporary = path + ".tmp";
  // The name can be guessed and the directory may be everybody's: never write
  // through a link that somebody has put there.
  unlink(temporary.c_str());
  Descriptor file = Descriptor::AboveStandard(
      ::open(temporary.c_str(),
             O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  bool written = file.open();
  for (size_t done = 0; written && done < text.size();) {
    ssize_t size = write(file.number(), text.data() + done, text.size() - done);
    written = size > 0;
    if (written) done += static_cast<size_t>(size);
  }
  written = written && rename(temporary.c_str(), path.c_str()) == 0;
  int error = errno;
  if (!written) unlink(temporary.c_str());
  errno = error;
  return written;
}

void ReportOutput::Write(const std::string& report, const char* trigger) {
  if (directory_.empty()) {
    WriteToStderr(CountsLine(report, pid_, trigger));
    return;
  }
  if (number_ < 0) {
    number_ = LastNumber();
    RemoveOldReports(directory_, kKeepInFolder - 1);
  }
  std::string path = PathOf(++number_);
  if (WriteFile(path, report + "\n")) {
    if (number_ > kKeep) unlink(PathOf(number_ - kKeep).c_str());
  } else if (!failed_) {
    failed_ = true;  // Said once; the service's log is not ours.
    Complain("the report " + path +
             " cannot be written: " + std::strerror(errno) +
             "; make room or name another directory in CYCLESCOPE_OUT");
  }
}

}  // namespace inspector
