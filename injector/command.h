#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace injector {

/// What a program that was started for its output said.
struct CommandResult {
  int status = 0;  // Exit status; 128 + the signal that ended it.
  std::string output;
  std::string errors;
};

/// Starts the program (looked up in PATH) with nothing on its stdin and waits
/// until it has ended. Throws Error if it cannot be started, has not ended
/// within `timeout` or prints more than 64 MiB; it is killed then, with what it
/// has started. If it `may_ask` in the terminal (ssh: for a password), it stays
/// in our process group and is killed alone.
CommandResult RunCommand(const std::vector<std::string>& arguments,
                         std::chrono::milliseconds timeout,
                         bool may_ask = false);

/// Where PATH has a program of this name.
std::optional<std::filesystem::path> FindProgram(const std::string& name);

}  // namespace injector
