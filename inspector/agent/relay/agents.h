#pragma once

#include <string>
#include <vector>

namespace relay {

/// An agent that answers in this container, for this user.
struct Agent {
  int pid = 0;       // As this process sees it.
  std::string name;  // The process's, from /proc/PID/comm.
  std::string socket;
};

/// All agents that this user may talk to, by pid: sockets in CYCLESCOPE_DIR of
/// this process; if there is none, in that of any process whose environment may
/// be read, in /run, /tmp and /dev/shm. What is stale, no socket, or answered
/// by another process than its name says is left out; `closed` counts those of
/// other users. With a `pid` only this one, so that the others are left alone:
/// to look whether an agent answers is to connect to it.
std::vector<Agent> FindAgents(int* closed, int pid = 0);

/// A connection to a socket, checked: a socket itself, not a link to one;
/// answered by `pid`, which runs as us, or we are root. kClosed if it is
/// another user's, kNone if there is no such thing.
inline constexpr int kNone = -1;
inline constexpr int kClosed = -2;
int ConnectTo(const std::string& path, int pid);

}  // namespace relay
