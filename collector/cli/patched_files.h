#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "injector/compose.h"

namespace collector {

/// Copies out of an image the files that a unified diff changes (paths
/// a/PACKAGE/… and b/PACKAGE/…, seen from site-packages or wherever the package
/// lies in the image), applies the diff to the copies, keeps them below
/// `folder` and returns the mounts that lay them over the image's own. Nothing
/// in the image or in an engine changes: it is read from a container that is
/// made of it, never started, and removed.
///
/// None if the image has none of the files, or no engine has the image. Throws
/// Error with one sentence if the diff does not apply exactly.
std::optional<std::vector<injector::BindMount>> PatchedFiles(
    const std::filesystem::path& patch, const std::vector<std::string>& images,
    const std::filesystem::path& folder);

}  // namespace collector
