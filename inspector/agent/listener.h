#pragma once

#include <sys/types.h>

#include <string>

#include "inspector/agent/connection.h"

namespace inspector {

/// The socket that the agent listens at: for its own user and root alone, mode
/// 0600 from its first moment, in a directory that nobody else can change what
/// is ours in. Its name is `cyclescope-PID.sock`; where that is taken,
/// `cyclescope-PID-NAMESPACE.sock` with the number of the pid namespace
/// (/proc/PID/ns/pid): containers that share a directory have equal pids. What
/// is there already stays, unless it is a socket of this user's that certainly
/// nobody listens at.
class Listener {
 public:
  Listener() = default;
  /// Throws std::runtime_error with a sentence that names the path.
  Listener(const std::string& directory, int pid);
  Listener(Listener&&) = default;
  Listener& operator=(Listener&&) = default;

  int number() const { return socket_.number(); }
  bool open() const { return socket_.open(); }
  /// False if the program has closed our descriptor under us.
  bool is_ours() const { return id_.IsOf(socket_.number()); }
  /// Closes it and takes the name away, if it is still ours.
  void Remove();
  /// Closes it alone: the name is another process's.
  void Close() { socket_.Close(); }
  /// Forgets it: its number is not ours any more.
  void Abandon() { socket_.Abandon(); }

 private:
  Descriptor socket_;
  FileId id_;  // Of the descriptor,
  std::string path_;
  FileId entry_;  // and of the name.
};

/// Why an agent should not listen in that directory; empty if it may.
std::string ObjectionTo(const std::string& directory);

/// Takes away the sockets of agents of this user that ended without doing so:
/// killed, or left by os._exit. Only those that certainly nobody listens at.
void RemoveStaleSockets(const std::string& directory);

}  // namespace inspector
