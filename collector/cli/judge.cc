// The verbs that read run folders: verdict, compare, report.

#include <fmt/format.h>

#include <filesystem>

#include "collector/cli/options.h"
#include "collector/cli/verbs.h"
#include "collector/report/report.h"
#include "collector/store/files.h"
#include "collector/store/load_run_facts.h"
#include "collector/verdict/verdict.h"

namespace collector {

namespace fs = std::filesystem;

namespace {

struct JudgeOptions {
  std::string run;
  std::string patched;
  std::string output;
  VerdictOptions verdict;
  bool json = false;
};

void AddMargin(CLI::App& verb, JudgeOptions& options) {
  verb.add_option("--margin", options.verdict.margin_bytes_per_unit,
                  "Growth that matters, in bytes per unit of work")
      ->capture_default_str()
      ->check(Positive());
}

int Print(const nlohmann::json& verdict, const std::string& text, bool json) {
  fmt::print("{}", json ? verdict.dump() + "\n" : text);
  return ExitCodeOf(verdict);
}

void WriteReport(const JudgeOptions& options) {
  RunFacts run = LoadRunFacts(options.run);
  nlohmann::json verdict = JudgeRun(run, options.verdict);
  fs::path output = options.output.empty()
                        ? fs::path(options.run) / "report.html"
                        : fs::path(options.output);
  WriteFileWhole(output,
                 HtmlReport({{"", std::move(run), std::move(verdict)}}));
  if (options.json) {
    fmt::print("{}\n", nlohmann::json{{"report", output.string()}}.dump());
  } else {
    fmt::print("{}\n", output.string());
  }
}

}  // namespace

void AddVerdict(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<JudgeOptions>();
  CLI::App* verb =
      app.add_subcommand("verdict", "Says whether the recorded service leaks");
  verb->add_option("RUN", options->run, "A run folder")->required();
  AddMargin(*verb, *options);
  verb->add_flag("--json", options->json, "The verdict as JSON");
  verb->footer(
      "Example: cyclescope verdict run1\n"
      "Exit code: 0 clean, 10 leak, 11 not enough data, 12 invalid run");
  verb->callback([options, exit_code] {
    nlohmann::json verdict =
        JudgeRun(LoadRunFacts(options->run), options->verdict);
    *exit_code = Print(verdict, RenderVerdict(verdict), options->json);
  });
}

void AddCompare(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<JudgeOptions>();
  CLI::App* verb = app.add_subcommand(
      "compare", "Says what a patch changed, and if it cured");
  verb->add_option("BASE", options->run, "Run folder without the patch")
      ->required();
  verb->add_option("PATCHED", options->patched, "Run folder with the patch")
      ->required();
  AddMargin(*verb, *options);
  verb->add_flag("--json", options->json, "The comparison as JSON");
  verb->footer(
      "Example: cyclescope compare run-before run-patched\n"
      "Exit code: 0 cured or nothing to cure, 10 not cured, 11 not enough "
      "data, 12 not comparable");
  verb->callback([options, exit_code] {
    nlohmann::json comparison =
        CompareRuns(LoadRunFacts(options->run), LoadRunFacts(options->patched),
                    options->verdict);
    *exit_code = Print(comparison, RenderCompare(comparison), options->json);
  });
}

void AddReport(CLI::App& app, int*) {
  auto options = std::make_shared<JudgeOptions>();
  CLI::App* verb = app.add_subcommand(
      "report", "Writes one HTML file about a run that opens offline");
  verb->add_option("RUN", options->run, "A run folder")->required();
  verb->add_option("--output", options->output,
                   "The file to write; RUN/report.html without it");
  AddMargin(*verb, *options);
  verb->add_flag("--json", options->json, "The path as JSON");
  verb->footer("Example: cyclescope report run1 --output run1.html");
  verb->callback([options] { WriteReport(*options); });
}

}  // namespace collector
