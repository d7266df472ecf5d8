// The rules: ptrace(2), "Ptrace access mode checking"; for Yama the kernel's
// Documentation/admin-guide/LSM/Yama.rst.
#include "injector/rights.h"

#include <linux/capability.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>

namespace injector {

namespace fs = std::filesystem;

Rights ReadRights(const fs::path& root) {
  Rights rights;
  rights.uid = geteuid();
  std::ifstream status(root / "proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("CapEff:")) {
      rights.capabilities = std::strtoull(line.c_str() + 7, nullptr, 16);
    }
  }
  std::ifstream yama(root / "proc/sys/kernel/yama/ptrace_scope");
  if (int scope = 0; yama >> scope) rights.yama_scope = scope;
  // We are not traced by ourselves: ESRCH, unless a filter answers first.
  errno = 0;
  ptrace(PTRACE_PEEKUSER, getpid(), nullptr, nullptr);
  rights.filtered = errno != ESRCH;
  return rights;
}

std::string WhyRefused(const Rights& rights) {
  // Only security modules tell the two modes apart.
  bool may_trace = rights.Has(CAP_SYS_PTRACE);
  if (rights.yama_scope == 3) {
    return "Yama lets nobody trace here (kernel.yama.ptrace_scope = 3) until "
           "the machine is started anew with another value";
  }
  if (rights.yama_scope == 2 && !may_trace) {
    return "Yama lets only CAP_SYS_PTRACE trace (kernel.yama.ptrace_scope = "
           "2): run cyclescope as root";
  }
  if (rights.yama_scope == 1 && !may_trace) {
    return "Yama lets only a parent trace (kernel.yama.ptrace_scope = 1): run "
           "cyclescope as root, or `sysctl kernel.yama.ptrace_scope=0`";
  }
  return "a security module of the kernel (SELinux, AppArmor) forbids it: see "
         "its log";
}

}  // namespace injector
