#pragma once

#include <fmt/format.h>
#include <stdlib.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>

#include "collector/error.h"

namespace collector {

/// A folder of our own that goes with us.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::error_code error;
    std::filesystem::path place = std::filesystem::temp_directory_path(error);
    std::string name =
        (error ? std::filesystem::path("/tmp") : place) / "cyclescope-XXXXXX";
    if (!mkdtemp(name.data()))
      throw Error(fmt::format(
          "cannot make a temporary folder in {}: {}; free space there or set "
          "TMPDIR",
          place.string(), std::generic_category().message(errno)));
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace collector
