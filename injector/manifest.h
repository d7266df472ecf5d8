#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "injector/environment.h"

namespace injector {

/// Where the folder of the socket is in a container.
inline constexpr char kSocketFolderInside[] = "/run/cyclescope";

/// What the rewriters of manifests ask of the world around the text.
struct ManifestWorld {
  /// The contents of a file; nullopt if it cannot be read.
  std::function<std::optional<std::string>(const std::filesystem::path&)>
      read_file;
  /// A variable of the caller's environment.
  std::function<std::optional<std::string>(const std::string&)> variable;
  /// The variables that an image sets; nullopt where no engine here has it.
  std::function<std::optional<Environment>(const std::string& image)>
      image_environment;
};

/// The value of PYTHONPATH with the hook in front of `before`, which stays as
/// text, `${...}` of compose included; unchanged if the hook is in it already.
std::string WithHook(const std::string& before);

/// `-I` or `-E` where `words` start a Python with either (it ignores PYTHONPATH
/// then); empty otherwise.
std::string IgnoresEnvironment(const std::vector<std::string>& words);

/// NAME=VALUE lines as compose's env_file and .env have them: comments, quotes
/// and `export` are left out; of a name given twice the last counts.
Environment ReadEnvironmentFile(const std::string& text);

}  // namespace injector
