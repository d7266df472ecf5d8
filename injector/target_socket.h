#pragma once

#include <sys/types.h>

#include <filesystem>

namespace injector {

/// Where the inspector of one process listens.
struct TargetSocket {
  std::filesystem::path path;  // As this process can open it.
  int pid = 0;                 // In this process's pid namespace.
};

/// Finds the socket of the inspector in process `pid`, also when the process
/// lives in a container on this machine (through /proc/PID/root). Throws Error,
/// one sentence per case: no such process, not a Python, no inspector in it,
/// or the process of another user.
TargetSocket FindSocket(pid_t pid);

}  // namespace injector
