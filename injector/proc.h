#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace injector {

/// The whole file; none if it is not there, not ours to read, or its process is
/// gone.
std::optional<std::string> ReadFile(const std::filesystem::path& path);

/// `/proc/PID/name`.
std::filesystem::path ProcPath(int pid, const std::string& name);

struct Mount {
  std::filesystem::path path;
  std::string type;
  std::string options;  // Comma between, also at both ends.
};

/// /proc/self/mountinfo, proc(5); `root` stands for "/" and is there for tests.
std::vector<Mount> ReadMounts(const std::filesystem::path& root);

}  // namespace injector
