#include <fmt/format.h>

#include <iterator>
#include <utility>

#include "collector/cli/text.h"
#include "collector/cli/verbs.h"
#include "injector/engine.h"
#include "injector/machine_checks.h"

namespace collector {

namespace {

using injector::Check;
using nlohmann::json;

std::vector<Check> CheckAll() {
  Check processes = injector::CheckProc();  // Without /proc there is no rest.
  std::vector<Check> checks;
  auto add = [&checks](std::vector<Check> more) {
    std::move(more.begin(), more.end(), std::back_inserter(checks));
  };
  std::vector<injector::Engine> engines = injector::FindEngines();
  std::vector<injector::Container> containers =
      injector::ListContainers(engines);
  std::vector<int> pids;
  for (const injector::Container& container : containers) {
    if (container.pid != 0) pids.push_back(container.pid);
  }
  injector::Rights rights = injector::ReadRights();
  add(injector::CheckEngines(engines, pids.size()));
  add({injector::CheckCgroups(), injector::CheckMemoryFiles(pids),
       injector::CheckPtrace(rights), injector::CheckCapabilities(rights),
       injector::CheckSeccomp(rights), std::move(processes)});
  add(injector::CheckPythons(injector::FindPythons(containers)));
  add({injector::CheckInspector(), injector::CheckClock()});
  add(injector::CheckDisks());
  return checks;
}

const char* Word(Check::State state) {
  switch (state) {
    case Check::State::kOk:
      return "ok";
    case Check::State::kLimited:
      return "limited";
    case Check::State::kMissing:
      return "missing";
  }
  return "";
}

void Diagnose(bool as_json) {
  std::vector<Check> checks = CheckAll();
  if (as_json) {
    json all = {{"schema", "cyclescope.doctor/1"}, {"checks", json::array()}};
    for (const Check& check : checks) {
      all["checks"].push_back(
          {{"check", check.name},
           {"state", Word(check.state)},
           {"finding", check.finding},
           {"remedy", check.remedy.empty() ? json() : json(check.remedy)}});
    }
    fmt::print("{}\n",
               all.dump(-1, ' ', false, json::error_handler_t::replace));
    return;
  }
  Table table({"check", "state", "finding"}, {0, 1, 2});
  for (const Check& check : checks) {
    table.Add({check.name, Word(check.state), check.finding});
    if (!check.remedy.empty()) table.AddNote("  → " + check.remedy);
  }
  fmt::print("{}", table.Render());
}

}  // namespace

void AddDoctor(CLI::App& app, int*) {
  auto as_json = std::make_shared<bool>(false);
  CLI::App* verb = app.add_subcommand(
      "doctor",
      "Says what works on this machine and how to mend what does not");
  verb->add_flag("--json", *as_json, "All of it as JSON");
  verb->footer(
      "Example: cyclescope doctor\n"
      "Exit code: 0, also where something is limited or missing");
  verb->callback([as_json] { Diagnose(*as_json); });
}

}  // namespace collector
