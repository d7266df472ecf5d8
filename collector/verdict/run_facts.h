#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace collector {

/// One figure at one moment of a run.
struct Point {
  int64_t elapsed_ms = 0;  // Since the start of the run, monotonic.
  double value = 0;
};

/// One snapshot of one service with the units processed when it was taken.
struct SnapshotAtUnits {
  int64_t elapsed_ms = 0;
  int64_t units = 0;
  std::string trigger;  // "start", "tenth", "end", "request".
  /// A whole `cyclescope.snapshot/1`, or null when the file could not be read.
  nlohmann::json report;
  /// Why `report` is null.
  std::string problem;
};

/// What happened during the run; kinds as in collector/store/run.h.
struct RunEvent {
  int64_t elapsed_ms = 0;
  std::string kind;
  std::string text;
};

/// All that the verdict needs to know of one service.
struct ServiceRun {
  std::string service;
  std::string memory_source;
  std::vector<Point> anon;                 // Bytes, ordered by time.
  std::vector<Point> units;                // Processed so far, ordered by time.
  std::vector<SnapshotAtUnits> snapshots;  // Ordered by time.
  /// Its own events and those of the whole run, ordered by time.
  std::vector<RunEvent> events;
};

/// A whole run as plain data: what `JudgeRun` reads. Made by `LoadRunFacts`
/// (collector/store/load_run_facts.h), or by hand in tests.
struct RunFacts {
  std::string run;             // The name of the folder.
  nlohmann::json description;  // `cyclescope.run/1`, as given to RunWriter.
  bool finished = false;       // False: the run was cut short.
  std::vector<ServiceRun> services;
};

}  // namespace collector
