#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

struct sqlite3;

namespace collector {

/// One service (one process) of a run.
struct ServiceInfo {
  std::string name;
  int pid = 0;
  /// Field 22 of /proc/PID/stat: tells a reused pid from the same process.
  int64_t start_ticks = 0;
  /// Where the memory figures come from, in words a reader can check.
  std::string memory_source;
};

/// One figure of one tick. `series` is one of the names below; bytes, seconds
/// and counts are all doubles (exact up to 2^53).
struct Sample {
  int64_t wall_ms = 0;     // Unix time.
  int64_t elapsed_ms = 0;  // Since the start of the run, monotonic.
  std::string service;
  std::string series;
  double value = 0;
};

/// Names of the series: `memory.anon`, `memory.rss`, `memory.file`,
/// `memory.swap` (bytes), `cpu.seconds`, `threads`, `descriptors`,
/// `units.sent`, `units.processed`.
inline constexpr char kAnon[] = "memory.anon";
inline constexpr char kUnitsProcessed[] = "units.processed";
inline constexpr char kUnitsSent[] = "units.sent";

struct SnapshotRecord {
  int64_t wall_ms = 0;
  int64_t elapsed_ms = 0;
  std::string service;
  int64_t units = 0;    // Units processed when it was taken.
  std::string trigger;  // "start", "tenth", "end", "request".
  std::string file;     // Relative to the run folder.
  std::string sha256;
};

/// Kinds: `start`, `load_started`, `load_done`, `load_not_reached`, `restart`,
/// `gap`, `snapshot_failed`, `interrupted`, `finished`.
struct Event {
  int64_t wall_ms = 0;
  int64_t elapsed_ms = 0;
  std::string service;
  std::string kind;
  std::string text;
};

/// The only writer of a run folder: `run.db` (SQLite, WAL, synchronous FULL),
/// `run.json` (the description given to Create), `snapshots/`. One transaction
/// per call, so that a kill at any moment leaves whole ticks. Not thread-safe:
/// one thread records. Every failure throws Error naming the file.
class RunWriter {
 public:
  /// Makes the folder; refuses one that already holds a run. `description` is
  /// `cyclescope.run/1`: schema, created, unit {name, source}, plan {units,
  /// rate_per_second, seed, snapshots}, arm, command, host {…}.
  static RunWriter Create(const std::filesystem::path& folder,
                          const nlohmann::json& description);
  RunWriter(RunWriter&&) noexcept;
  ~RunWriter();

  void AddService(const ServiceInfo& service);
  void AddSamples(const std::vector<Sample>& samples);
  /// Writes the report text (one `cyclescope.snapshot/1`) to temp + fsync +
  /// rename, then the row. Fills `file` and `sha256` of the record itself.
  void AddSnapshot(SnapshotRecord record, const std::string& report);
  void AddEvent(const Event& event);
  /// Says that the run ended as planned; without it readers call it cut short.
  void Finish();

 private:
  struct State;
  explicit RunWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Reads a run folder, also one whose writer was killed. Opens read-only.
class RunReader {
 public:
  explicit RunReader(const std::filesystem::path& folder);
  RunReader(RunReader&&) noexcept;
  ~RunReader();

  const std::filesystem::path& folder() const;
  const nlohmann::json& description() const;
  bool finished() const;
  std::vector<ServiceInfo> Services() const;
  /// Ordered by time.
  std::vector<Sample> Samples(const std::string& service,
                              const std::string& series) const;
  std::vector<SnapshotRecord> Snapshots(const std::string& service) const;
  /// Parses one snapshot file; throws Error if it is missing or damaged.
  nlohmann::json ReadSnapshot(const SnapshotRecord& record) const;
  std::vector<Event> Events() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace collector
