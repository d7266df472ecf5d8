#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "collector/sample/agent_client.h"
#include "collector/sample/interrupt.h"
#include "collector/sample/process_sampler.h"
#include "collector/store/run.h"

namespace collector {

struct RecordPlan {
  std::string service;
  std::vector<std::string> watch;
  std::chrono::milliseconds interval = std::chrono::seconds(5);
  /// Ends when so many units are processed; 0: never for that reason.
  int64_t units = 0;
  /// Ends after so long; 0: never for that reason.
  std::chrono::milliseconds longest{0};
  /// Snapshots between the first and the last: one each time another such part
  /// of `units` (without units: of `longest`) has passed.
  int parts = 10;
  std::chrono::milliseconds poll = std::chrono::milliseconds(200);
  /// Throws Error when no unit was processed for so long; 0: waits on.
  std::chrono::milliseconds stall{0};
};

/// What goes on around the recording. Each may be empty.
struct RecordHooks {
  /// Units processed since the start. Throws Error if that cannot be known.
  std::function<int64_t()> units_processed;
  std::function<int64_t()> units_sent;
  /// Called once the first snapshot is taken: the load may begin.
  std::function<void()> started;
  /// A snapshot is done (or has failed); `parts` of the plan had passed when it
  /// began.
  std::function<void(int parts)> snapshot_taken;
  /// At the end: why the planned load was not reached; empty if it was.
  std::function<std::string()> load_problem;
  /// Called at every poll; throws to end the recording with that error.
  std::function<void()> watch_over;
  /// All units are counted; true once the last one is really done.
  std::function<bool()> settled;
  /// Progress for a person, at most twice a second.
  std::function<void(int64_t units, int64_t elapsed_ms)> progress;
};

/// How a recording ended.
struct RecordResult {
  int64_t units = 0;
  int64_t elapsed_ms = 0;
  int64_t snapshots = 0;
  bool interrupted = false;
};

/// Records one service into a run folder: samples on an absolute clock (a tick
/// that came too late is left out and written down as a `gap`), a snapshot at
/// the start, at each part of the plan and at the end. On an interrupt it
/// writes an `interrupted` event and returns. If the service ends or restarts,
/// it writes a `restart` event and throws Error; the folder stays readable.
RecordResult Record(const RecordPlan& plan, const RecordHooks& hooks,
                    const AgentClient& agent, RunWriter& run,
                    const Interrupt& interrupt);

/// The `host` part of `cyclescope.run/1`: system, release, CPUs, memory.
nlohmann::json DescribeHost();

/// Now, as run folders write it: UTC, `2026-11-24T08:00:00Z`.
std::string UtcNow();

}  // namespace collector
