#include "collector/store/load_run_facts.h"

#include "collector/error.h"

namespace collector {
namespace {

std::vector<Point> PointsOf(const RunReader& reader, const std::string& service,
                            const char* series) {
  std::vector<Point> points;
  for (const Sample& sample : reader.Samples(service, series))
    points.push_back({sample.elapsed_ms, sample.value});
  return points;
}

SnapshotAtUnits Load(const RunReader& reader, const SnapshotRecord& record) {
  SnapshotAtUnits snapshot{.elapsed_ms = record.elapsed_ms,
                           .units = record.units,
                           .trigger = record.trigger,
                           .report = nullptr,
                           .problem = ""};
  try {
    snapshot.report = reader.ReadSnapshot(record);
  } catch (const Error& error) {
    // One damaged file must not hide the rest of the run.
    snapshot.problem = error.what();
  }
  return snapshot;
}

}  // namespace

RunFacts LoadRunFacts(const RunReader& reader) {
  std::filesystem::path name = reader.folder().lexically_normal();
  if (!name.has_filename()) name = name.parent_path();
  RunFacts run{.run = name.filename().string(),
               .description = reader.description(),
               .finished = reader.finished(),
               .services = {}};
  const std::vector<Event> events = reader.Events();
  for (const ServiceInfo& info : reader.Services()) {
    ServiceRun service{.service = info.name,
                       .memory_source = info.memory_source,
                       .anon = PointsOf(reader, info.name, kAnon),
                       .units = PointsOf(reader, info.name, kUnitsProcessed),
                       .snapshots = {},
                       .events = {}};
    for (const SnapshotRecord& record : reader.Snapshots(info.name))
      service.snapshots.push_back(Load(reader, record));
    for (const Event& event : events)
      if (event.service.empty() || event.service == info.name)
        service.events.push_back({event.elapsed_ms, event.kind, event.text});
    run.services.push_back(std::move(service));
  }
  return run;
}

RunFacts LoadRunFacts(const std::filesystem::path& folder) {
  return LoadRunFacts(RunReader(folder));
}

}  // namespace collector
