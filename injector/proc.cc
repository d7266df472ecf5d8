#include "injector/proc.h"

#include <fstream>
#include <sstream>

namespace injector {

namespace fs = std::filesystem;

std::optional<std::string> ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  if (file.bad()) return std::nullopt;
  return text.str();
}

fs::path ProcPath(int pid, const std::string& name) {
  return fs::path("/proc") / std::to_string(pid) / name;
}

std::vector<Mount> ReadMounts(const fs::path& root) {
  std::vector<Mount> mounts;
  std::ifstream file(root / "proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream left(line.substr(0, dash));
    std::istringstream right(line.substr(dash + 3));
    std::string skip, path, type, device, options;
    left >> skip >> skip >> skip >> skip >> path;
    right >> type >> device >> options;
    mounts.push_back({path, type, "," + options + ","});
  }
  return mounts;
}

}  // namespace injector
