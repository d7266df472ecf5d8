#include "injector/compose.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "collector/cli/manifest_world.h"
#include "collector/cli/options.h"
#include "collector/cli/patched_files.h"
#include "collector/cli/verbs.h"
#include "collector/error.h"
#include "injector/environment.h"

namespace collector {

namespace fs = std::filesystem;

namespace {

/// Where the patched copies are kept, below the working directory.
constexpr char kPatchedFolder[] = "cyclescope-patched";

struct ComposeOptions {
  std::vector<fs::path> files;
  std::vector<std::string> services;
  std::string patch;
  std::vector<std::string> mounts;
  std::optional<std::string> python_path;
};

/// The named services, or all.
std::vector<const injector::ComposeService*> Chosen(
    const injector::ComposeProject& project, const ComposeOptions& options) {
  std::vector<std::string> names;
  std::vector<const injector::ComposeService*> chosen;
  for (const injector::ComposeService& service : project.services) {
    names.push_back(service.name);
    if (options.services.empty() ||
        std::count(options.services.begin(), options.services.end(),
                   service.name) > 0) {
      chosen.push_back(&service);
    }
  }
  for (const std::string& name : options.services) {
    if (std::count(names.begin(), names.end(), name) == 0) {
      throw Error(fmt::format(
          "--service {}: there is no such service with an "
          "image or a build in {}; there are {}",
          name, options.files.front().string(), fmt::join(names, ", ")));
    }
  }
  return chosen;
}

injector::BindMount ParseMount(const std::string& text) {
  size_t colon = text.rfind(':');
  std::string inside = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (!inside.starts_with('/') || colon == 0) {
    throw UsageError(fmt::format(
        "--mount {}: is not SRC:DST; give a folder or file of this machine and "
        "its full path in the container",
        text));
  }
  fs::path source = fs::absolute(text.substr(0, colon)).lexically_normal();
  if (!fs::exists(source)) {
    throw Error(
        fmt::format("--mount {}: there is no {}; give a folder or file "
                    "of this machine",
                    text, source.string()));
  }
  return {source.string(), inside};
}

/// The patch's files for each service whose image has them.
void AddPatch(const std::vector<const injector::ComposeService*>& services,
              const ComposeOptions& options,
              injector::ComposeChanges& changes) {
  bool applied = false;
  for (const injector::ComposeService* service : services) {
    auto mounts = PatchedFiles(options.patch, service->images,
                               fs::absolute(kPatchedFolder) / service->name);
    if (mounts) {
      applied = true;
      auto& all = changes.mounts[service->name];
      all.insert(all.end(), mounts->begin(), mounts->end());
    } else if (!options.services.empty()) {
      throw Error(fmt::format(
          "--patch {}: the image of service {} ({}) is not here or has none of "
          "the files that it changes; build or pull the image first, or leave "
          "that service out",
          options.patch, service->name, fmt::join(service->images, " or ")));
    }
  }
  if (!applied) {
    throw Error(fmt::format(
        "--patch {}: no service has an image here with the files that it "
        "changes; build or pull the images first, and name the files as "
        "a/PACKAGE/… in the patch",
        options.patch));
  }
}

void PrintOverride(const ComposeOptions& options) {
  injector::ManifestWorld world = ThisMachine();
  injector::ComposeProject project = ReadCompose(options.files, world);
  std::vector<const injector::ComposeService*> services =
      Chosen(project, options);
  injector::ComposeChanges changes;
  changes.hook = injector::FindHookDirectory();
  changes.variables = InspectorVariables();
  changes.python_path = options.python_path;
  std::vector<std::string> names;
  for (const injector::ComposeService* service : services) {
    names.push_back(service->name);
    for (const std::string& mount : options.mounts) {
      changes.mounts[service->name].push_back(ParseMount(mount));
    }
  }
  if (!options.patch.empty()) AddPatch(services, options, changes);
  std::string text = ComposeOverride(project, names, changes, world);
  fmt::print("{}", text);
  PrintWarnings(project.warnings);
  std::string arguments;
  for (const fs::path& file : options.files) {
    arguments += " -f " + file.string();
  }
  fmt::print(
      stderr,
      "cyclescope: the inspector comes into {}{} by: podman compose{} -f "
      "THIS_OUTPUT up\n",
      fmt::join(names, ", "),
      options.services.empty() ? " (all; --service names some)" : "",
      arguments);
}

}  // namespace

void AddCompose(CLI::App& app, int*) {
  auto options = std::make_shared<ComposeOptions>();
  CLI::App* verb = app.add_subcommand(
      "compose",
      "Prints an override file for podman compose or docker compose "
      "that brings the inspector into services");
  verb->add_option("FILE", options->files,
                   "The compose files, in the order of their -f")
      ->required();
  Repeatable(verb->add_option("--service", options->services,
                              "Services with a Python; without it all"));
  verb->add_option("--patch", options->patch,
                   "Unified diff of packages in the image (a/PACKAGE/…), "
                   "applied to copies that are mounted over them");
  Repeatable(verb->add_option("--mount", options->mounts,
                              "SRC:DST, mounted read-only (repeatable)"));
  verb->add_option("--pythonpath", options->python_path,
                   "What PYTHONPATH the image sets, where no engine here can "
                   "be asked");
  verb->footer(
      "Example: cyclescope compose compose.yml --service app > inspect.yml\n"
      "         podman compose -f compose.yml -f inspect.yml up -d");
  verb->callback([options] { PrintOverride(*options); });
}

}  // namespace collector
