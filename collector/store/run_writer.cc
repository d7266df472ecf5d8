// A run folder is made to survive a kill, a full disk and a power cut: rows go
// into a write-ahead log that is synced at every commit, files appear by
// rename. There is exactly one connection that writes, because SQLite before
// 3.51.3 can damage a log that two connections reset at the same moment.

#include <fmt/format.h>

#include <cctype>
#include <cmath>
#include <map>
#include <system_error>
#include <utility>

#include "collector/error.h"
#include "collector/store/database.h"
#include "collector/store/files.h"
#include "collector/store/run.h"
#include "collector/store/sha256.h"

namespace collector {
namespace {

namespace fs = std::filesystem;

constexpr char kSchema[] = R"(
  PRAGMA user_version = 1;
  CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
  CREATE TABLE service(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    pid INTEGER NOT NULL, start_ticks INTEGER NOT NULL,
    memory_source TEXT NOT NULL);
  CREATE TABLE series(id INTEGER PRIMARY KEY, service TEXT NOT NULL,
    name TEXT NOT NULL, UNIQUE(service, name));
  CREATE TABLE sample(series INTEGER NOT NULL REFERENCES series(id),
    elapsed_ms INTEGER NOT NULL, wall_ms INTEGER NOT NULL, value REAL NOT NULL,
    PRIMARY KEY(series, elapsed_ms)) WITHOUT ROWID;
  CREATE TABLE snapshot(id INTEGER PRIMARY KEY, wall_ms INTEGER NOT NULL,
    elapsed_ms INTEGER NOT NULL, service TEXT NOT NULL, units INTEGER NOT NULL,
    trigger TEXT NOT NULL, file TEXT NOT NULL, sha256 TEXT NOT NULL);
  CREATE TABLE event(id INTEGER PRIMARY KEY, wall_ms INTEGER NOT NULL,
    elapsed_ms INTEGER NOT NULL, service TEXT NOT NULL, kind TEXT NOT NULL,
    text TEXT NOT NULL);
)";

void MakeFolder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    throw Error(fmt::format(
        "cannot make the run folder {}: {}; choose a folder that you may write "
        "to",
        folder.string(), error.message()));
}

/// A service's name as part of a file name.
std::string FileNameOf(const std::string& service) {
  std::string name;
  for (unsigned char c : service)
    name.push_back(std::isalnum(c) || c == '-' || c == '_' ? char(c) : '_');
  return name.empty() ? "service" : name;
}

}  // namespace

struct RunWriter::State {
  State(fs::path run_folder, const std::string& database_path)
      : folder(std::move(run_folder)),
        database(
            database_path,
            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
            database_path) {}

  /// The row of a series, made when it is first seen.
  int64_t SeriesId(const std::string& service, const std::string& name) {
    auto [place, is_new] = series.try_emplace({service, name}, 0);
    if (is_new) {
      Statement(database, "INSERT INTO series(service, name) VALUES(?, ?)")
          .Bind(0, service)
          .Bind(1, name)
          .Run();
      place->second = sqlite3_last_insert_rowid(database.get());
    }
    return place->second;
  }

  fs::path folder;
  Database database;
  std::map<std::pair<std::string, std::string>, int64_t> series;
  int snapshot_count = 0;
  bool finished = false;
};

RunWriter RunWriter::Create(const fs::path& folder,
                            const nlohmann::json& description) {
  MakeFolder(folder);
  if (fs::exists(folder / "run.json") || fs::exists(folder / "run.db"))
    throw Error(fmt::format(
        "{} already holds a run, which is never overwritten; choose another "
        "folder or remove it",
        folder.string()));
  MakeFolder(folder / "snapshots");
  WriteFileWhole(folder / "run.json", description.dump(2) + "\n");

  auto state = std::make_unique<State>(folder, (folder / "run.db").string());
  state->database.Run("PRAGMA journal_mode = WAL");
  state->database.Run("PRAGMA synchronous = FULL");
  Transaction transaction(state->database);
  state->database.Run(kSchema);
  transaction.Commit();
  return RunWriter(std::move(state));
}

RunWriter::RunWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
RunWriter::RunWriter(RunWriter&&) noexcept = default;

RunWriter::~RunWriter() {
  // A finished run becomes one plain file that can be read from a read-only
  // place. Fails harmlessly while somebody reads: the log stays then.
  if (state_ && state_->finished)
    sqlite3_exec(state_->database.get(), "PRAGMA journal_mode = DELETE",
                 nullptr, nullptr, nullptr);
}

void RunWriter::AddService(const ServiceInfo& service) {
  Transaction transaction(state_->database);
  Statement(state_->database,
            "INSERT INTO service(name, pid, start_ticks, memory_source)"
            " VALUES(?, ?, ?, ?) ON CONFLICT(name) DO UPDATE SET"
            " pid = excluded.pid, start_ticks = excluded.start_ticks,"
            " memory_source = excluded.memory_source")
      .Bind(0, service.name)
      .Bind(1, int64_t{service.pid})
      .Bind(2, service.start_ticks)
      .Bind(3, service.memory_source)
      .Run();
  transaction.Commit();
}

void RunWriter::AddSamples(const std::vector<Sample>& samples) {
  auto known = state_->series;
  Transaction transaction(state_->database);
  try {
    Statement insert(state_->database,
                     "INSERT OR REPLACE INTO sample(series, elapsed_ms,"
                     " wall_ms, value) VALUES(?, ?, ?, ?)");
    for (const Sample& sample : samples) {
      if (!std::isfinite(sample.value)) continue;
      insert.Bind(0, state_->SeriesId(sample.service, sample.series))
          .Bind(1, sample.elapsed_ms)
          .Bind(2, sample.wall_ms)
          .Bind(3, sample.value)
          .Run();
    }
    transaction.Commit();
  } catch (const Error&) {
    // The rows of new series are rolled back with the rest.
    state_->series = std::move(known);
    throw;
  }
}

void RunWriter::AddSnapshot(SnapshotRecord record, const std::string& report) {
  record.file = fmt::format("snapshots/{}-{:04}.json",
                            FileNameOf(record.service), state_->snapshot_count);
  record.sha256 = Sha256(report);
  WriteFileWhole(state_->folder / record.file, report);
  ++state_->snapshot_count;
  Transaction transaction(state_->database);
  Statement(state_->database,
            "INSERT INTO snapshot(wall_ms, elapsed_ms, service, units, trigger,"
            " file, sha256) VALUES(?, ?, ?, ?, ?, ?, ?)")
      .Bind(0, record.wall_ms)
      .Bind(1, record.elapsed_ms)
      .Bind(2, record.service)
      .Bind(3, record.units)
      .Bind(4, record.trigger)
      .Bind(5, record.file)
      .Bind(6, record.sha256)
      .Run();
  transaction.Commit();
}

void RunWriter::AddEvent(const Event& event) {
  Transaction transaction(state_->database);
  Statement(state_->database,
            "INSERT INTO event(wall_ms, elapsed_ms, service, kind, text)"
            " VALUES(?, ?, ?, ?, ?)")
      .Bind(0, event.wall_ms)
      .Bind(1, event.elapsed_ms)
      .Bind(2, event.service)
      .Bind(3, event.kind)
      .Bind(4, event.text)
      .Run();
  transaction.Commit();
}

void RunWriter::Finish() {
  Transaction transaction(state_->database);
  state_->database.Run(
      "INSERT OR REPLACE INTO meta(key, value) VALUES('finished', '1')");
  transaction.Commit();
  state_->finished = true;
}

}  // namespace collector
