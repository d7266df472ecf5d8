#include "collector/sample/selftest.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "collector/cli/status_line.h"
#include "collector/cli/verbs.h"
#include "collector/error.h"

namespace collector {

namespace {

std::string Render(const nlohmann::json& result) {
  std::string text =
      fmt::format("Python {} · {} · uid {}\n", result.value("python", "?"),
                  result.value("executable", "?"), result.value("uid", -1));
  for (const nlohmann::json& check : result["checks"]) {
    text += fmt::format("  {:<9} {:<7} {}\n", check.value("check", "?"),
                        check.value("ok", false) ? "ok" : "failed",
                        check.value("says", ""));
  }
  return text;
}

/// Why it is not verified here: the first check that failed.
std::string Reason(const nlohmann::json& result) {
  for (const nlohmann::json& check : result["checks"]) {
    if (!check.value("ok", false))
      return fmt::format("{}: {}", check.value("check", "?"),
                         check.value("says", ""));
  }
  return "no check was made";
}

}  // namespace

void AddSelftest(CLI::App& app, int* exit_code) {
  struct Options {
    SelftestPlan plan;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand(
      "selftest",
      "Starts that place's Python on a program with a known heap and checks "
      "walk, states and guard there");
  verb->add_option("TARGET", options->plan.target,
                   "Nothing: this machine. image:NAME: a new container of it. "
                   "A container, or exec:'CMD' where CMD gives stdin and "
                   "stdout there: inside of it, beside the service");
  verb->add_option("--python", options->plan.python,
                   "The interpreter to start; else the service's own, else "
                   "python3 of PATH");
  verb->add_option("ARGUMENTS", options->plan.run_arguments,
                   "With image:NAME, after --: more arguments of the engine's "
                   "`run`");
  verb->add_flag("--json", options->json, "The result as JSON");
  verb->footer(
      "Example: cyclescope selftest\n"
      "         cyclescope selftest rules-processing\n"
      "         cyclescope selftest exec:'oc exec -i my-pod -c app --'\n"
      "         cyclescope selftest image:my-service -- --read-only --user "
      "1001 --memory 256m\n"
      "Exit code: 0 verified here, 1 not");
  verb->callback([options, exit_code] {
    nlohmann::json result;
    {
      Waiting waiting("the self-test's Python", kSelftestTimeout);
      result = Selftest(options->plan);
    }
    if (options->json) {
      fmt::print("{}\n", result.dump());
    } else {
      fmt::print("{}", Render(result));
    }
    if (result.value("verified", false)) {
      if (!options->json) fmt::print("verified here\n");
      return;
    }
    *exit_code = kExitError;
    if (!options->json) fmt::print("not verified: {}\n", Reason(result));
  });
}

}  // namespace collector
