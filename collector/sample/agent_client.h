#pragma once

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "collector/sample/channel.h"

namespace collector {

/// JSON without control characters in its texts, which would reach the
/// terminal: names come from a process that need not be ours. An inspector
/// writes none.
std::string WithoutControlCharacters(const std::string& json);

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

/// Asks the inspector in one process: one JSON line and one reply per request.
/// Cheap to keep; safe to use from several threads, since nothing is shared
/// between requests. Every failure throws Error: no answer in time, an answer
/// that is not what was asked for, or a refusal (in the words of the
/// inspector).
class AgentClient {
 public:
  /// `name`: in words, for lists; `container`: {engine, name, image}, or null.
  AgentClient(std::shared_ptr<Channel> channel, std::string name,
              nlohmann::json container = nullptr)
      : channel_(std::move(channel)),
        name_(std::move(name)),
        container_(std::move(container)) {}
  /// Of the one process that `target` (injector/target.h) names. Throws Error
  /// (also injector::Error) if it names none, or several, or if no inspector
  /// answers a ping there.
  static AgentClient Connect(const std::string& target);

  /// The pid of the process that listens, as this machine's kernel tells it; 0
  /// if the process lives where this machine cannot look.
  int pid() const { return channel_->pid(); }
  /// In words: `process 4711`, `container web, process 7 there`.
  const std::string& name() const { return name_; }

  nlohmann::json Ping() const;
  /// The `cyclescope.snapshot/1` report: one line. As the inspector wrote it,
  /// but for what it cannot see: the pid that this machine knows, and the
  /// container.
  std::string Snapshot(const SnapshotRequest& request) const;
  nlohmann::json Sample() const;
  nlohmann::json GcStats() const;
  nlohmann::json Settings() const;

 private:
  nlohmann::json AskJson(const char* request) const;

  std::shared_ptr<Channel> channel_;
  std::string name_;
  nlohmann::json container_;
};

}  // namespace collector
