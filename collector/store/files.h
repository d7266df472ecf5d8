#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace collector {

/// Writes `bytes` to `path` so that a kill or a full disk at any moment leaves
/// either the old file or the whole new one: a temporary file beside it, fsync,
/// rename, fsync of the folder. Throws Error naming the file; the temporary
/// file is removed then.
void WriteFileWhole(const std::filesystem::path& path, std::string_view bytes);

/// The whole file. Throws Error naming it.
std::string ReadFileWhole(const std::filesystem::path& path);

}  // namespace collector
