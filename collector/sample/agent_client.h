#pragma once

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "collector/sample/unique_fd.h"

namespace collector {

/// What to look at in one snapshot.
struct SnapshotRequest {
  /// Types to watch, `module.qualname` or its last part; empty leaves the
  /// choice to the service's settings.
  std::vector<std::string> watch;
  /// An open, writable descriptor for one line `0xADDRESS TYPE STATE` per
  /// tracked object; -1 for none. Stays the caller's.
  int ids_fd = -1;
  /// The same for the whole heap (heap_file.md). One of the two only.
  int heap_fd = -1;
  std::chrono::milliseconds timeout = std::chrono::seconds(120);
};

/// Asks the inspector in one process: one connection, one JSON line and one
/// reply per request. Cheap to keep; safe to use from several threads, since
/// nothing is shared between requests. Every failure throws Error: no answer in
/// time, an answer that is not what was asked for, or a refusal (in the words
/// of the inspector).
class AgentClient {
 public:
  /// `target` is a pid or the path of a socket. Throws Error (also
  /// injector::Error) if no inspector answers a ping there.
  static AgentClient Connect(const std::string& target);

  /// The pid of the process that listens, as the kernel tells it.
  int pid() const { return pid_; }
  const std::filesystem::path& socket() const { return socket_; }

  nlohmann::json Ping() const;
  /// The `cyclescope.snapshot/1` report as the inspector wrote it: one line.
  std::string Snapshot(const SnapshotRequest& request) const;
  nlohmann::json Sample() const;
  nlohmann::json GcStats() const;
  nlohmann::json Settings() const;

 private:
  AgentClient(std::filesystem::path socket, std::optional<int> pid);
  UniqueFd Open() const;
  std::string Ask(const nlohmann::json& request, int pass_fd,
                  std::chrono::milliseconds timeout) const;
  nlohmann::json AskJson(const char* request) const;

  std::filesystem::path socket_;
  mutable int pid_ = 0;
};

}  // namespace collector
