// Opens a run folder wherever it lies. Three cases: the database is plain or
// somebody writes to it (open it read-only); it was left with its log on a
// place that cannot be written (read a copy: SQLite needs to build the log's
// index beside it); it is plain but on such a place (SQLite's `immutable`).

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <system_error>
#include <utility>

#include "collector/error.h"
#include "collector/store/database.h"
#include "collector/store/files.h"
#include "collector/store/run.h"
#include "collector/store/sha256.h"
#include "collector/store/temporary_folder.h"

namespace collector {
namespace {

namespace fs = std::filesystem;

/// A path as the path part of a `file:` URI.
std::string UriOf(const fs::path& path, const char* parameters) {
  std::string uri = "file:";
  for (unsigned char c : fs::absolute(path).string()) {
    if (c == '%' || c == '?' || c == '#')
      uri += fmt::format("%{:02x}", c);
    else
      uri.push_back(static_cast<char>(c));
  }
  return uri + parameters;
}

nlohmann::json ParseFile(const fs::path& path, const std::string& bytes,
                         const char* remedy) {
  try {
    return nlohmann::json::parse(bytes);
  } catch (const nlohmann::json::parse_error& error) {
    // The library's own exception becomes ours, with the file's name.
    throw Error(
        fmt::format("cannot read {}: it is not valid JSON at byte {}; {}",
                    path.string(), error.byte, remedy));
  }
}

}  // namespace

struct RunReader::State {
  explicit State(const fs::path& run_folder) : folder(run_folder) {
    ReadDescription();
    OpenDatabase();
  }

  void ReadDescription() {
    std::error_code error;
    fs::path path = folder / "run.json";
    if (!fs::exists(path, error))
      throw Error(fmt::format(
          "{} is not a run folder: it has no readable run.json; give a folder "
          "that `cyclescope record` or `cyclescope demo` wrote",
          folder.string()));
    description = ParseFile(path, ReadFileWhole(path), "record the run again");
    if (!description.is_object())
      throw Error(fmt::format(
          "cannot read {}: it does not describe a run; record the run again",
          path.string()));
  }

  void OpenDatabase() {
    std::error_code error;
    fs::path path = folder / "run.db";
    // Killed between the two files of Create: a run without a row.
    if (!fs::exists(path, error)) return;
    if (TryOpen(UriOf(path, "?mode=ro"), path)) return;
    auto log_size = fs::file_size(path.string() + "-wal", error);
    if (!error && log_size > 0) {
      copy = std::make_unique<TemporaryFolder>();
      for (const char* end : {"", "-wal"})
        WriteFileWhole(copy->path() / (std::string("run.db") + end),
                       ReadFileWhole(path.string() + end));
      if (TryOpen(UriOf(copy->path() / "run.db", ""), path)) return;
    } else if (TryOpen(UriOf(path, "?immutable=1"), path)) {
      return;
    }
    throw Error(last_problem);
  }

  /// True if the database opens and answers. A failure is kept as the reason
  /// for the last way to fail.
  bool TryOpen(const std::string& uri, const fs::path& path) {
    try {
      bool read_only = uri.find("?mode=ro") != std::string::npos ||
                       uri.find("?immutable") != std::string::npos;
      database.emplace(
          uri,
          SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX |
              (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE),
          path.string());
      Statement tables(*database,
                       "SELECT count(*) FROM sqlite_master"
                       " WHERE name IN ('meta', 'sample', 'snapshot')");
      tables.Step();
      int64_t found = tables.Integer(0);
      if (found == 3) {
        Statement query(*database, "SELECT 1 FROM meta WHERE key = 'finished'");
        finished = query.Step();
        return true;
      }
    } catch (const Error& error) {  // The next way may succeed.
      database.reset();
      last_problem = error.what();
      return false;
    }
    // Killed before its tables were committed: a run without a row.
    database.reset();
    return true;
  }

  /// Calls `take` for every row; not at all when the run has no database.
  template <typename Bind, typename Take>
  void Query(const char* sql, Bind bind, Take take) {
    if (!database) return;
    Statement statement(*database, sql);
    bind(statement);
    while (statement.Step()) take(statement);
  }

  fs::path folder;
  nlohmann::json description;
  bool finished = false;
  std::string last_problem;
  std::unique_ptr<TemporaryFolder> copy;  // Outlives the connection to it.
  std::optional<Database> database;
};

RunReader::RunReader(const fs::path& folder)
    : state_(std::make_unique<State>(folder)) {}
RunReader::RunReader(RunReader&&) noexcept = default;
RunReader::~RunReader() = default;

const fs::path& RunReader::folder() const { return state_->folder; }

const nlohmann::json& RunReader::description() const {
  return state_->description;
}

bool RunReader::finished() const { return state_->finished; }

std::vector<ServiceInfo> RunReader::Services() const {
  std::vector<ServiceInfo> services;
  state_->Query(
      "SELECT name, pid, start_ticks, memory_source FROM service ORDER BY id",
      [](Statement&) {},
      [&services](const Statement& row) {
        services.push_back({.name = row.Text(0),
                            .pid = static_cast<int>(row.Integer(1)),
                            .start_ticks = row.Integer(2),
                            .memory_source = row.Text(3)});
      });
  return services;
}

std::vector<Sample> RunReader::Samples(const std::string& service,
                                       const std::string& series) const {
  std::vector<Sample> samples;
  state_->Query(
      "SELECT wall_ms, elapsed_ms, value FROM sample WHERE series ="
      " (SELECT id FROM series WHERE service = ? AND name = ?)"
      " ORDER BY elapsed_ms",
      [&](Statement& query) { query.Bind(0, service).Bind(1, series); },
      [&](const Statement& row) {
        samples.push_back({.wall_ms = row.Integer(0),
                           .elapsed_ms = row.Integer(1),
                           .service = service,
                           .series = series,
                           .value = row.Real(2)});
      });
  return samples;
}

std::vector<SnapshotRecord> RunReader::Snapshots(
    const std::string& service) const {
  std::vector<SnapshotRecord> snapshots;
  state_->Query(
      "SELECT wall_ms, elapsed_ms, units, trigger, file, sha256 FROM snapshot"
      " WHERE service = ? ORDER BY elapsed_ms, id",
      [&](Statement& query) { query.Bind(0, service); },
      [&](const Statement& row) {
        snapshots.push_back({.wall_ms = row.Integer(0),
                             .elapsed_ms = row.Integer(1),
                             .service = service,
                             .units = row.Integer(2),
                             .trigger = row.Text(3),
                             .file = row.Text(4),
                             .sha256 = row.Text(5)});
      });
  return snapshots;
}

nlohmann::json RunReader::ReadSnapshot(const SnapshotRecord& record) const {
  fs::path file(record.file);
  fs::path path = state_->folder / file;
  // The row is input: it must not lead out of the folder.
  for (const fs::path& part : file)
    if (file.is_absolute() || part == "..")
      throw Error(fmt::format(
          "cannot read snapshot {} of {}: it lies outside of the run folder; "
          "record the run again",
          record.file, state_->folder.string()));
  std::string bytes = ReadFileWhole(path);
  if (Sha256(bytes) != record.sha256)
    throw Error(fmt::format(
        "cannot use {}: its SHA-256 is not the recorded one, so it was changed "
        "or damaged; restore it or record the run again",
        path.string()));
  nlohmann::json report = ParseFile(path, bytes, "take the snapshot again");
  if (!report.is_object() || !report.contains("schema") ||
      report["schema"] != "cyclescope.snapshot/1")
    throw Error(fmt::format(
        "cannot use {}: its schema is not cyclescope.snapshot/1; read it with "
        "the version of cyclescope that wrote it",
        path.string()));
  return report;
}

std::vector<Event> RunReader::Events() const {
  std::vector<Event> events;
  state_->Query(
      "SELECT wall_ms, elapsed_ms, service, kind, text FROM event"
      " ORDER BY elapsed_ms, id",
      [](Statement&) {},
      [&events](const Statement& row) {
        events.push_back({.wall_ms = row.Integer(0),
                          .elapsed_ms = row.Integer(1),
                          .service = row.Text(2),
                          .kind = row.Text(3),
                          .text = row.Text(4)});
      });
  return events;
}

}  // namespace collector
