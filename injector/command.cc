#include "injector/command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "injector/environment.h"
#include "injector/pipe.h"

namespace injector {

using std::chrono::milliseconds;

namespace {

constexpr size_t kLongestOutput = 64 << 20;

/// What the started program inherits: an empty stdin, the pipes, no signal
/// that we ignore, a process group of its own unless it may ask in the
/// terminal: a group in the background is stopped when it reads there.
struct SpawnPlan {
  SpawnPlan(const Pipe& output, const Pipe& errors, bool may_ask) {
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, output.write_end.get(), 1);
    posix_spawn_file_actions_adddup2(&files, errors.write_end.get(), 2);
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setpgroup(&attributes, 0);
    short flags = POSIX_SPAWN_SETSIGDEF;
    if (!may_ask) flags |= POSIX_SPAWN_SETPGROUP;
    posix_spawnattr_setflags(&attributes, flags);
  }
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
  }
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
};

/// Kills and reaps the process (group) unless it has ended before.
struct Running {
  explicit Running(bool may_ask) : own_group(!may_ask) {}
  ~Running() {
    if (pid < 0) return;
    kill(own_group ? -pid : pid, SIGKILL);
    Reap();
  }
  int Reap() {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    pid = -1;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  bool own_group;
  pid_t pid = -1;
};

/// Appends what there is to read; false at the end.
bool ReadSome(int fd, std::string& to) {
  char buffer[1 << 16];
  ssize_t length = read(fd, buffer, sizeof(buffer));
  if (length < 0 && errno == EINTR) return true;
  if (length > 0) to.append(buffer, static_cast<size_t>(length));
  return length > 0;
}

}  // namespace

CommandResult RunCommand(const std::vector<std::string>& arguments,
                         milliseconds timeout, bool may_ask) {
  Pipe output;
  Pipe errors;
  SpawnPlan plan(output, errors, may_ask);
  std::vector<std::string> copies = arguments;
  std::vector<char*> argv;
  for (std::string& copy : copies) argv.push_back(copy.data());
  argv.push_back(nullptr);
  Running running(may_ask);
  int failure = posix_spawnp(&running.pid, argv[0], &plan.files,
                             &plan.attributes, argv.data(), environ);
  if (failure != 0) {
    running.pid = -1;
    throw Error(fmt::format("start {}: {}; install it or mend PATH",
                            arguments[0], std::strerror(failure)));
  }
  output.write_end = UniqueFd();
  errors.write_end = UniqueFd();

  CommandResult result;
  auto deadline = std::chrono::steady_clock::now() + timeout;
  while (output.read_end || errors.read_end) {
    auto left = std::chrono::ceil<milliseconds>(
        deadline - std::chrono::steady_clock::now());
    // A closed end is -1, which poll leaves out.
    pollfd ready[] = {{output.read_end.get(), POLLIN, 0},
                      {errors.read_end.get(), POLLIN, 0}};
    int count =
        left.count() > 0 ? poll(ready, 2, static_cast<int>(left.count())) : 0;
    if (count == 0) {
      throw Error(fmt::format("`{}` has not ended within {} s; try it by hand",
                              fmt::join(arguments, " "),
                              static_cast<double>(timeout.count()) / 1000));
    }
    if (ready[0].revents != 0 &&
        !ReadSome(output.read_end.get(), result.output)) {
      output.read_end = UniqueFd();
    }
    if (ready[1].revents != 0 &&
        !ReadSome(errors.read_end.get(), result.errors)) {
      errors.read_end = UniqueFd();
    }
    if (result.output.size() + result.errors.size() > kLongestOutput) {
      throw Error(fmt::format("`{}` prints more than {} MiB; try it by hand",
                              fmt::join(arguments, " "), kLongestOutput >> 20));
    }
  }
  result.status = running.Reap();
  return result;
}

std::optional<std::filesystem::path> FindProgram(const std::string& name) {
  const char* folders = std::getenv("PATH");
  std::istringstream list(folders != nullptr ? folders : "");
  for (std::string folder; std::getline(list, folder, ':');) {
    std::filesystem::path path = std::filesystem::path(folder) / name;
    std::error_code failure;
    if (std::filesystem::is_regular_file(path, failure) &&
        access(path.c_str(), X_OK) == 0) {
      return path;
    }
  }
  return std::nullopt;
}

}  // namespace injector
