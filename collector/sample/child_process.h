#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "collector/sample/unique_fd.h"

namespace collector {

/// What to start and how.
struct Command {
  std::vector<std::string> arguments;  // The program first; looked up in PATH.
  std::map<std::string, std::string> environment;  // Added to the caller's.
  std::filesystem::path directory;                 // Empty: the caller's.
  std::filesystem::path output;  // stdout and stderr go here; must be given.
  /// A stream that is stdin and stdout of the program instead; stays the
  /// caller's. -1: none. Such a program may ask for a password in the terminal:
  /// it stays in our process group, without SIGINT, and ends with the stream.
  int stream = -1;
};

/// Owns one child process. It has its own process group, so that a Ctrl-C in
/// the terminal reaches only us, and it is killed by the kernel when the thread
/// that started it ends in any way. Its stdin stays open and empty as long as
/// this object lives. The destructor kills and reaps it.
class ChildProcess {
 public:
  /// Throws Error if the program cannot be started, naming it and why.
  explicit ChildProcess(const Command& command);
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess other) noexcept;
  ~ChildProcess();

  int pid() const { return pid_; }
  bool running();
  /// In words: `exit status 3`, `signal 9 (Killed)`; empty while it runs.
  std::string ending();
  /// The last lines of its output, at most `bytes`, for an error's text.
  std::string OutputTail(size_t bytes = 400) const;
  /// True if the process has ended within `wait`.
  bool Wait(std::chrono::milliseconds wait);
  /// Sends `signal`; true if the process has ended within `wait`.
  bool Stop(int signal, std::chrono::milliseconds wait);
  /// SIGINT, then SIGTERM, then SIGKILL, each after its bounded wait. Returns
  /// the signal that was enough; 0 if it had ended by itself.
  int StopGently(std::chrono::milliseconds wait);

 private:
  int pid_ = -1;
  std::optional<int> status_;  // From waitpid, once reaped.
  UniqueFd pidfd_;
  UniqueFd stdin_;  // The writing end.
  std::filesystem::path output_;
};

}  // namespace collector
