#include "collector/sample/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "collector/error.h"
#include "injector/pipe.h"

namespace collector {

using std::chrono::milliseconds;

namespace {

/// Merged once, before fork: the child may not allocate.
std::vector<std::string> MergedEnvironment(
    const std::map<std::string, std::string>& added) {
  std::vector<std::string> entries;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string text = *entry;
    if (!added.contains(text.substr(0, text.find('=')))) {
      entries.push_back(std::move(text));
    }
  }
  for (const auto& [name, value] : added) entries.push_back(name + "=" + value);
  return entries;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// What becomes of the descriptors 0, 1 and 2.
struct Streams {
  int input;
  int output;
  int errors;
  bool own_group;
};

/// In the child. Writes errno to `report` and ends if anything fails.
[[noreturn]] void Become(char** arguments, char** environment,
                         const char* directory, Streams streams, int report,
                         pid_t parent) noexcept {
  if (streams.own_group) prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() == parent) {
    if (streams.own_group) setpgid(0, 0);
    for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) {
      ::signal(signal, SIG_DFL);
    }
    if (!streams.own_group) ::signal(SIGINT, SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    if (dup2(streams.input, 0) >= 0 && dup2(streams.output, 1) >= 0 &&
        dup2(streams.errors, 2) >= 0 &&
        (*directory == '\0' || chdir(directory) == 0)) {
      execvpe(arguments[0], arguments, environment);
    }
  }
  int reason = errno;
  [[maybe_unused]] ssize_t written = write(report, &reason, sizeof(reason));
  _exit(127);
}

}  // namespace

ChildProcess::ChildProcess(const Command& command) : output_(command.output) {
  std::vector<std::string> arguments = command.arguments;
  std::vector<std::string> entries = MergedEnvironment(command.environment);
  std::vector<char*> argv = Pointers(arguments);
  std::vector<char*> envp = Pointers(entries);
  UniqueFd output(
      open(output_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!output) {
    throw Error(fmt::format("{}: cannot be written: {}", output_.string(),
                            std::strerror(errno)));
  }
  injector::Pipe report;
  injector::Pipe input;
  Streams streams = {input.read_end.get(), output.get(), output.get(), true};
  if (command.stream >= 0)
    streams = {command.stream, command.stream, output.get(), false};
  pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) {
    Become(argv.data(), envp.data(), command.directory.c_str(), streams,
           report.write_end.get(), parent);
  }
  if (pid_ < 0) {
    throw Error(
        fmt::format("start {}: fork: {}", arguments[0], std::strerror(errno)));
  }
  report.write_end = UniqueFd();
  stdin_ = std::move(input.write_end);
  int reason = 0;
  if (read(report.read_end.get(), &reason, sizeof(reason)) == sizeof(reason)) {
    waitpid(pid_, nullptr, 0);
    throw Error(
        fmt::format("start {}: {}", arguments[0], std::strerror(reason)));
  }
  pidfd_ = UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      status_(other.status_),
      pidfd_(std::move(other.pidfd_)),
      stdin_(std::move(other.stdin_)),
      output_(std::move(other.output_)) {}

ChildProcess& ChildProcess::operator=(ChildProcess other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(status_, other.status_);
  std::swap(pidfd_, other.pidfd_);
  std::swap(stdin_, other.stdin_);
  std::swap(output_, other.output_);
  return *this;
}

ChildProcess::~ChildProcess() {
  if (pid_ < 0 || status_) return;
  kill(pid_, SIGKILL);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
}

bool ChildProcess::running() {
  if (pid_ < 0 || status_) return false;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) == pid_) status_ = status;
  return !status_;
}

std::string ChildProcess::ending() {
  if (running() || !status_) return "";
  if (WIFSIGNALED(*status_)) {
    return fmt::format("signal {} ({})", WTERMSIG(*status_),
                       strsignal(WTERMSIG(*status_)));
  }
  return fmt::format("exit status {}", WEXITSTATUS(*status_));
}

std::string ChildProcess::OutputTail(size_t bytes) const {
  std::ifstream file(output_, std::ios::binary | std::ios::ate);
  if (!file) return "";
  auto size = static_cast<size_t>(file.tellg());
  size_t begin = size > bytes ? size - bytes : 0;
  file.seekg(static_cast<std::streamoff>(begin));
  std::string text(size - begin, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (begin > 0) text.erase(0, text.find('\n') + 1);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

bool ChildProcess::Wait(milliseconds wait) {
  auto deadline = std::chrono::steady_clock::now() + wait;
  while (running()) {
    auto left = std::chrono::ceil<milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    // Without a pidfd (kernel below 5.3) this is a plain short sleep.
    pollfd entry = {pidfd_.get(), POLLIN, 0};
    int64_t longest = pidfd_ ? left.count() : 20;
    poll(&entry, 1, static_cast<int>(std::min(left.count(), longest)));
  }
  return true;
}

bool ChildProcess::Stop(int signal, milliseconds wait) {
  if (!running()) return true;
  kill(pid_, signal);
  return Wait(wait);
}

int ChildProcess::StopGently(milliseconds wait) {
  if (!running()) return 0;
  for (int signal : {SIGINT, SIGTERM}) {
    if (Stop(signal, wait)) return signal;
  }
  Stop(SIGKILL, milliseconds(5000));
  return SIGKILL;
}

}  // namespace collector
