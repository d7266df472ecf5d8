#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

namespace collector {

/// A snapshot report as `snapshot --json` prints it. Throws Error if the file
/// cannot be read, NotComparable if it is something else.
nlohmann::json ReadSnapshotReport(const std::filesystem::path& path);

}  // namespace collector
