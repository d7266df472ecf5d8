#include "collector/cli/demo_arms.h"

#include <fmt/format.h>

#include <fstream>
#include <set>

#include "collector/error.h"
#include "collector/sample/child_process.h"

namespace collector {

namespace fs = std::filesystem;

namespace {

constexpr char kRemedy[] = "run `make demo`, which sets it up";

void Require(const fs::path& path, const char* what) {
  if (!fs::exists(path)) {
    throw Error(fmt::format("the demo needs {}, but {} is missing: {}", what,
                            path.string(), kRemedy));
  }
}

/// The files that a unified diff changes, without the first folder (-p1).
std::set<fs::path> PatchedFiles(const fs::path& patch) {
  std::ifstream file(patch);
  if (!file) {
    throw Error(fmt::format("patch {}: cannot be read; give a unified diff",
                            patch.string()));
  }
  std::set<fs::path> files;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("+++ ")) continue;
    std::string name = line.substr(4, line.find('\t') - 4);
    fs::path path = fs::path(name).lexically_normal();
    fs::path rest;
    for (auto part = std::next(path.begin()); part != path.end(); ++part) {
      rest /= *part;
    }
    if (path.is_absolute() || rest.empty() || *rest.begin() == "..") {
      throw Error(fmt::format(
          "patch {}: the file name '{}' is not of the form b/package/file.py",
          patch.string(), name));
    }
    files.insert(rest);
  }
  if (files.empty()) {
    throw Error(fmt::format(
        "patch {}: names no file; give a unified diff as `git diff` prints it",
        patch.string()));
  }
  return files;
}

/// Makes `to` a real folder whose entries are links into `from`. Compiled files
/// stay out: Python would write those of the patched module through the link.
void LinkEntries(const fs::path& from, const fs::path& to) {
  fs::create_directories(to);
  for (const auto& entry : fs::directory_iterator(from)) {
    fs::path name = entry.path().filename();
    if (name != "__pycache__" && !fs::exists(fs::symlink_status(to / name))) {
      fs::create_symlink(fs::canonical(entry.path()), to / name);
    }
  }
}

/// Replaces the links on the way to `file` by real folders, and the last one by
/// a copy.
void Unlink(const fs::path& file, const fs::path& from, const fs::path& to) {
  fs::path done;
  for (const fs::path& part : file.parent_path()) {
    done /= part;
    if (!fs::is_directory(from / done)) return;  // The patch makes it.
    if (fs::is_symlink(to / done)) fs::remove(to / done);
    LinkEntries(from / done, to / done);
  }
  if (!fs::exists(from / file)) return;
  fs::remove(to / file);
  fs::copy_file(from / file, to / file);
}

std::string Stem(const fs::path& patch) {
  std::string name = patch.stem().string();
  return name.ends_with("-patch") ? name : name + "-patch";
}

}  // namespace

std::vector<DemoArm> DemoArms(const std::string& collector,
                              const std::vector<fs::path>& patches,
                              const DemoFixtures& fixtures) {
  std::vector<DemoArm> kinds = {
      {"before", "before", true, "", ""},
      {"dr-py-patch", "before", true, fixtures.ccx / "patches/dr-py.patch",
       "before"},
      {"published-fixes", "published-fixes", true, "", "before"}};
  for (const fs::path& patch : patches) {
    kinds.push_back(
        {Stem(patch), "before", true, fs::absolute(patch), "before"});
  }
  std::vector<DemoArm> arms;
  std::set<std::string> names;
  for (bool on : {true, false}) {
    for (DemoArm arm : kinds) {
      bool wanted = collector == "both" || collector == (on ? "on" : "off") ||
                    (collector.empty() && (!on || arm.name == "before"));
      if (!wanted) continue;
      arm.collector_on = on;
      if (!on) {
        arm.name += "-uncollected";
        if (!arm.base.empty()) arm.base += "-uncollected";
      }
      if (!names.insert(arm.name).second) {
        throw UsageError(fmt::format(
            "--patch: two arms would be called {}; rename one of the files",
            arm.name));
      }
      arms.push_back(arm);
    }
  }
  return arms;
}

void CheckFixtures(const DemoFixtures& fixtures,
                   const std::vector<DemoArm>& arms) {
  Require(fixtures.broker, "the broker");
  Require(fixtures.ccx / "rules-processing.yaml", "the configuration");
  Require(fixtures.venvs / "moto/bin/moto_server", "the S3 server");
  for (const DemoArm& arm : arms) {
    Require(fixtures.venvs / arm.venv / "bin/ccx-messaging", "the service");
    if (!arm.collector_on) {
      Require(fixtures.ccx / "collector-off",
              "the hook that stops the collector");
    }
    if (!arm.patch.empty() && !fs::exists(arm.patch)) {
      throw Error(
          fmt::format("patch {}: there is no such file", arm.patch.string()));
    }
  }
}

fs::path SitePackages(const fs::path& venv) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(venv / "lib", ignored)) {
    fs::path found = entry.path() / "site-packages";
    if (fs::is_directory(found)) return found;
  }
  throw Error(fmt::format("{}: no site-packages folder in it: {}",
                          venv.string(), kRemedy));
}

void MakeOverlay(const fs::path& patch, const fs::path& site_packages,
                 const fs::path& folder) {
  fs::remove_all(folder);
  fs::create_directories(folder);
  for (const fs::path& file : PatchedFiles(patch)) {
    Unlink(file, site_packages, folder);
  }
  fs::path log = folder / "patch.log";
  ChildProcess program({{"patch", "-p1", "--batch", "--forward", "--fuzz=0",
                         "--no-backup-if-mismatch", "-i", patch.string()},
                        {},
                        folder,
                        log});
  if (!program.Wait(std::chrono::seconds(30)) ||
      program.ending() != "exit status 0") {
    std::string said = program.OutputTail(300);
    for (char& c : said) c = c == '\n' ? ' ' : c;
    throw Error(fmt::format(
        "patch {} does not apply to {}: {}; make it against these versions",
        patch.string(), site_packages.string(), said));
  }
}

}  // namespace collector
