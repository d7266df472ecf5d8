#include "injector/target_socket.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "injector/environment.h"

namespace injector {

namespace fs = std::filesystem;

namespace {

fs::path ProcPath(pid_t pid, const char* name) {
  return fs::path("/proc") / std::to_string(pid) / name;
}

[[noreturn]] void ThrowNoProcess(pid_t pid) {
  throw Error("there is no process " + std::to_string(pid) +
              ": give the pid of a running Python as this machine sees it");
}

[[noreturn]] void ThrowOtherUser(pid_t pid) {
  if (geteuid() == 0) {
    throw Error("process " + std::to_string(pid) +
                " may not be looked into, not even by root here: run "
                "cyclescope in the namespace that the process lives in");
  }
  throw Error("process " + std::to_string(pid) +
              " belongs to another user: run cyclescope as that user or as "
              "root");
}

/// The whole file; empty if the process is gone or its file closed to us.
std::optional<std::string> ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// The last number of the NSpid line: the pid that the process itself sees.
int PidInNamespace(pid_t pid, const std::string& status) {
  size_t line = status.find("\nNSpid:");
  if (line == std::string::npos) return pid;
  std::istringstream numbers(
      status.substr(line + 7, status.find('\n', line + 1) - line - 7));
  int last = pid;
  for (int number = 0; numbers >> number;) last = number;
  return last;
}

/// The value of a variable in a NUL-separated environment block.
std::optional<std::string> Variable(const std::string& block,
                                    const std::string& name) {
  std::string prefix = name + "=";
  for (size_t begin = 0; begin < block.size();) {
    size_t end = block.find('\0', begin);
    if (end == std::string::npos) end = block.size();
    if (block.compare(begin, prefix.size(), prefix) == 0) {
      return block.substr(begin + prefix.size(), end - begin - prefix.size());
    }
    begin = end + 1;
  }
  return std::nullopt;
}

bool IsPython(pid_t pid, const std::string& executable) {
  if (executable.find("python") != std::string::npos) return true;
  // A program that embeds Python has the library or our inspector mapped.
  std::string maps = ReadFile(ProcPath(pid, "maps")).value_or("");
  return maps.find("libpython") != std::string::npos ||
         maps.find("_cyclescope.abi3.so") != std::string::npos;
}

}  // namespace

TargetSocket FindSocket(pid_t pid) {
  std::optional<std::string> status = ReadFile(ProcPath(pid, "status"));
  if (pid <= 0 || !status) ThrowNoProcess(pid);

  std::error_code failure;
  fs::path executable = fs::read_symlink(ProcPath(pid, "exe"), failure);
  if (failure.value() == EACCES) ThrowOtherUser(pid);
  std::optional<std::string> environment = ReadFile(ProcPath(pid, "environ"));
  if (!environment) {
    if (!fs::exists(ProcPath(pid, "status"))) ThrowNoProcess(pid);
    ThrowOtherUser(pid);
  }
  std::string name = executable.filename().string();
  if (!IsPython(pid, name)) {
    throw Error("process " + std::to_string(pid) + " (" +
                (name.empty() ? "no executable" : name) +
                ") is not a Python: give the pid of the interpreter, not of "
                "its shell or parent");
  }

  std::vector<fs::path> folders = {"/run", "/tmp", "/dev/shm"};
  if (std::optional<std::string> own = Variable(*environment, "CYCLESCOPE_DIR");
      own && !own->empty()) {
    folders = {*own};
  }
  std::string file =
      "cyclescope-" + std::to_string(PidInNamespace(pid, *status)) + ".sock";
  for (const fs::path& folder : folders) {
    // A relative folder is relative to where the process stands.
    fs::path inside = folder.is_absolute()
                          ? ProcPath(pid, "root") / folder.relative_path()
                          : ProcPath(pid, "cwd") / folder;
    struct stat entry {};
    fs::path path = inside / file;
    if (stat(path.c_str(), &entry) == 0) {
      if (geteuid() != 0 && entry.st_uid != geteuid()) ThrowOtherUser(pid);
      return {path, pid};
    }
    if (errno == EACCES) ThrowOtherUser(pid);
  }
  throw Error("there is no inspector in process " + std::to_string(pid) + " (" +
              name + "): start it with `cyclescope run -- CMD`");
}

}  // namespace injector
