#pragma once

#include <sys/types.h>

#include <filesystem>
#include <vector>

#include "injector/unique_fd.h"

namespace injector {

/// Where the inspector of one process listens.
struct TargetSocket {
  std::filesystem::path path;  // As messages name it.
  int pid = 0;                 // In this process's pid namespace; 0: not known.
  int pid_inside = 0;          // As the process itself sees it; 0: not known.
  uid_t uid = 0;   // The process's user, as this process sees it; of a path
  gid_t gid = 0;   // alone, the file's.
  UniqueFd entry;  // The file itself (O_PATH): what is checked is connected to.
};

/// Finds the socket of the inspector in process `pid`, also when the process
/// lives in a container on this machine (through /proc/PID/root, where a link
/// leads nowhere but inside). Throws Error, one sentence per case: no such
/// process, not a Python, no inspector in it, or the process of another user.
TargetSocket FindSocket(pid_t pid);

/// The socket at `path`. Throws Error if it is none, a link to one included.
TargetSocket OpenSocket(const std::filesystem::path& path);

/// The sockets of all processes with an inspector that live together with
/// `first`: in its pid namespace or, where that is ours, in its cgroup.
std::vector<TargetSocket> FindSocketsBeside(pid_t first);

/// A connection. Root connects as the process's own user: to a process in a
/// user namespace of its own, the machine's root is nobody. Fills `pid` if it
/// was not known. Throws Error if the socket is stale, another user's, answered
/// by another process, or takes no connection for 5 s.
UniqueFd ConnectTo(TargetSocket& socket);

}  // namespace injector
