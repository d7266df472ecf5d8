#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "injector/manifest.h"

namespace injector {

/// What a project's files say of one service, `extends` and several files
/// merged as compose does it.
struct ComposeService {
  std::string name;
  /// By which an engine may know its image, the likeliest first.
  std::vector<std::string> images;
  /// Of `environment`; without a value it is the caller's.
  std::map<std::string, std::optional<std::string>> environment;
  Environment files;                          // Of its env_files.
  std::vector<std::string> words;             // Of entrypoint and command.
  std::map<std::string, std::string> mounts;  // Source by place inside.
};

struct ComposeProject {
  std::string version;                   // Of the first file, mostly empty.
  std::vector<ComposeService> services;  // Those with an image or a build.
  std::vector<std::string> warnings;
};

/// Reads what `-f FILE -f FILE …` would. Throws Error naming the file that
/// cannot be read or is no compose file.
ComposeProject ReadCompose(const std::vector<std::filesystem::path>& files,
                           const ManifestWorld& world);

/// A folder or file of this machine, read-only in a container.
struct BindMount {
  std::string source;
  std::string destination;
};

struct ComposeChanges {
  std::string hook;  // The folder on this machine.
  /// CYCLESCOPE_* for services that don't set them themselves.
  Environment variables;
  /// What the images' PYTHONPATH is, for those that cannot be asked.
  std::optional<std::string> python_path;
  std::map<std::string, std::vector<BindMount>> mounts;  // By service.
};

/// The override file for `services` of the project. Appends to
/// `project.warnings` what could not be kept or known. Throws Error for a
/// service that is not there or has other things at the places of ours.
std::string ComposeOverride(ComposeProject& project,
                            const std::vector<std::string>& services,
                            const ComposeChanges& changes,
                            const ManifestWorld& world);

}  // namespace injector
