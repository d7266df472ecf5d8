#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace injector {

/// What of this process decides whether it may look into others.
struct Rights {
  uid_t uid = 0;              // The effective one.
  uint64_t capabilities = 0;  // The effective ones, a bit each.
  /// kernel.yama.ptrace_scope; none without Yama.
  std::optional<int> yama_scope;
  /// A seccomp filter of our own forbids ptrace, as old containers' do.
  bool filtered = false;

  bool Has(int capability) const {
    return (capabilities >> capability & 1) != 0;
  }
};

/// Of this process. `root` stands for "/" and is there for tests.
Rights ReadRights(const std::filesystem::path& root = "/");

/// Why the kernel has refused to open the memory of a process whose maps it
/// shows us (PTRACE_MODE_ATTACH and PTRACE_MODE_READ in ptrace(2)), and the
/// remedy.
std::string WhyRefused(const Rights& rights);

}  // namespace injector
