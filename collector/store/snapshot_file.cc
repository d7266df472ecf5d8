#include "collector/store/snapshot_file.h"

#include <fmt/format.h>

#include "collector/error.h"
#include "collector/store/files.h"

namespace collector {

nlohmann::json ReadSnapshotReport(const std::filesystem::path& path) {
  nlohmann::json report = nlohmann::json::parse(ReadFileWhole(path), nullptr,
                                                /*allow_exceptions=*/false);
  auto schema = report.is_object() ? report.find("schema") : report.end();
  if (!report.is_object() || schema == report.end() ||
      *schema != "cyclescope.snapshot/1") {
    throw NotComparable(
        fmt::format("{} is no snapshot report: write one with `cyclescope "
                    "snapshot PID --json > FILE`",
                    path.string()));
  }
  return report;
}

}  // namespace collector
