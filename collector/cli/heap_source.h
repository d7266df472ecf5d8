#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "collector/heap/recorded_heap.h"
#include "collector/sample/agent_client.h"

namespace collector {

/// What every verb on a recorded heap takes.
struct HeapOptions {
  std::string source;
  std::vector<std::string> watch;
  size_t top = 10;
  bool json = false;
};

/// Adds FILE|TARGET, --watch, --top and --json to the verb.
void AddHeapOptions(CLI::App& verb, HeapOptions& options);

/// As AgentClient::Snapshot, and says on stderr what it waits for if that takes
/// long.
std::string WaitForSnapshot(const AgentClient& agent,
                            const SnapshotRequest& request);

/// Has the inspector write its whole heap to `path`, which is there only when
/// it is complete; /dev/stdout and pipes will do. Returns the report as the
/// inspector wrote it. Throws Error naming the file.
std::string WriteHeap(const std::string& target,
                      const std::vector<std::string>& watch,
                      const std::string& path);

/// The heap of a heap file, or that of a live TARGET, now; it is then kept in
/// memory only.
RecordedHeap HeapOf(const std::string& target_or_file,
                    const std::vector<std::string>& watch);

}  // namespace collector
