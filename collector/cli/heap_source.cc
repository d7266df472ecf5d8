#include "collector/cli/heap_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "collector/cli/options.h"
#include "collector/cli/status_line.h"
#include "collector/error.h"
#include "collector/sample/unique_fd.h"
#include "injector/target.h"

namespace collector {

namespace fs = std::filesystem;

namespace {

std::string AskForHeap(const std::string& target,
                       const std::vector<std::string>& watch, int fd) {
  SnapshotRequest request;
  request.watch = watch;
  request.heap_fd = fd;
  return WaitForSnapshot(AgentClient::Connect(target), request);
}

/// A file that goes unless it is told to stay.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
  TemporaryFile(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (!path_.empty()) unlink(path_.c_str());
  }
  void MoveTo(const std::string& to) {
    if (rename(path_.c_str(), to.c_str()) != 0)
      throw Error(fmt::format("{}: {}", to, std::strerror(errno)));
    path_.clear();
  }

 private:
  std::string path_;
};

}  // namespace

std::string WaitForSnapshot(const AgentClient& agent,
                            const SnapshotRequest& request) {
  Waiting waiting(
      "the snapshot (the service may be in C code that keeps the GIL)",
      std::chrono::duration_cast<std::chrono::seconds>(request.timeout));
  return agent.Snapshot(request);
}

void AddHeapOptions(CLI::App& verb, HeapOptions& options) {
  verb.add_option(
          "FILE|TARGET", options.source,
          std::string("A heap file, or what runs. ") + injector::kTargetHelp)
      ->required();
  Repeatable(
      verb.add_option("--watch", options.watch,
                      "With TARGET, a type to watch: module.Type or Type "
                      "(repeatable)"));
  AddRows(verb, options.top);
  verb.add_flag("--json", options.json, "All of it as JSON");
}

std::string WriteHeap(const std::string& target,
                      const std::vector<std::string>& watch,
                      const std::string& path) {
  struct stat status = {};
  bool special = stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode);
  std::string written = special ? path : path + ".part";
  int flags = special ? O_WRONLY : O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW;
  UniqueFd fd(open(written.c_str(), flags | O_CLOEXEC, 0600));
  if (!fd) throw CannotBeWritten("--heap", path);
  TemporaryFile file(special ? "" : written);
  std::string report;
  try {
    report = AskForHeap(target, watch, fd.get());
  } catch (const Error& error) {
    // The inspector knows only a descriptor, the person a file.
    throw Error(fmt::format("--heap {}: {}", path, error.what()));
  }
  if (!special) file.MoveTo(path);
  return report;
}

RecordedHeap HeapOf(const std::string& target_or_file,
                    const std::vector<std::string>& watch) {
  std::error_code ignored;
  if (fs::is_regular_file(target_or_file, ignored))
    return RecordedHeap::Open(target_or_file);
  if (injector::ParseTarget(target_or_file).kind ==
          injector::Target::Kind::kSocket &&
      !fs::is_socket(target_or_file, ignored))
    throw Error(fmt::format(
        "{}: neither a heap file nor a socket; make a file with `cyclescope "
        "snapshot TARGET --heap FILE`",
        target_or_file));
  UniqueFd memory(memfd_create("cyclescope-heap", MFD_CLOEXEC));
  if (!memory)
    throw Error(fmt::format("memfd_create: {}", std::strerror(errno)));
  AskForHeap(target_or_file, watch, memory.get());
  return RecordedHeap::FromDescriptor(memory.get(), target_or_file);
}

}  // namespace collector
