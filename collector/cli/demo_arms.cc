#include "collector/cli/demo_arms.h"

#include <fmt/format.h>

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
    if (arm.patch.empty()) continue;
    Require(fixtures.ccx / "overlay.sh", "the script that applies patches");
    if (!fs::exists(arm.patch)) {
      throw Error(
          fmt::format("patch {}: there is no such file; name a unified "
                      "diff",
                      arm.patch.string()));
    }
  }
}

void MakeOverlay(const DemoFixtures& fixtures, const DemoArm& arm,
                 const fs::path& folder) {
  fs::path log = folder;
  log += ".log";
  ChildProcess script({{(fixtures.ccx / "overlay.sh").string(),
                        (fixtures.venvs / arm.venv).string(),
                        arm.patch.string(), folder.string()},
                       {},
                       {},
                       log});
  bool ended = script.Wait(std::chrono::seconds(60));
  if (ended && script.ending() == "exit status 0") return;
  std::string said = ended ? script.OutputTail(1000) : "no end after 60 s";
  constexpr char kOwnName[] = "overlay: ";
  if (said.starts_with(kOwnName)) said.erase(0, sizeof(kOwnName) - 1);
  throw Error(fmt::format("arm {}: {}", arm.name, said));
}

}  // namespace collector
