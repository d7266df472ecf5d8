#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "collector/cli/verbs.h"
#include "collector/error.h"
#include "collector/sample/interrupt.h"

namespace {

int Fail(const std::string& sentence, int exit_code) {
  fmt::print(stderr, "cyclescope: {}\n", sentence);
  return exit_code;
}

/// The sentence of a command line that cannot be parsed.
std::string Sentence(const CLI::App& app, const CLI::ParseError& error) {
  std::string verb;
  for (const CLI::App* called : app.get_subcommands()) {
    verb = " " + called->get_name();
  }
  std::string text = error.what();
  while (!text.empty() && (text.back() == '\n' || text.back() == '.')) {
    text.pop_back();
  }
  return fmt::format("{}; see `cyclescope{} --help`", text, verb);
}

/// CLI11 would call an unknown verb an argument that it did not expect.
void CheckVerb(const CLI::App& app, int argc, char** argv) {
  std::string verb = argc > 1 ? argv[1] : "-";
  auto is_it = [&verb](const CLI::App* one) { return one->get_name() == verb; };
  if (verb.starts_with("-") || !app.get_subcommands(is_it).empty()) return;
  throw collector::UsageError(fmt::format(
      "there is no verb '{}': `cyclescope --help` lists them", verb));
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // A closed pipe is an error of that write.
  CLI::App app(
      "Looks into the heap of running CPython services: which "
      "reference cycles exist, in which state, and do they leak.",
      "cyclescope");
  app.set_version_flag("--version", CYCLESCOPE_VERSION);
  app.footer(
      "Example: cyclescope run -- python3 service.py\n"
      "         cyclescope snapshot PID");
  // CLI11 would only say that a verb is missing.
  app.require_subcommand(0, 1);
  int exit_code = 0;
  collector::AddDoctor(app, &exit_code);
  collector::AddPs(app, &exit_code);
  collector::AddRun(app, &exit_code);
  collector::AddSelftest(app, &exit_code);
  collector::AddSnapshot(app, &exit_code);
  collector::AddDiff(app, &exit_code);
  collector::AddTop(app, &exit_code);
  collector::AddPath(app, &exit_code);
  collector::AddWhatIf(app, &exit_code);
  collector::AddLoad(app, &exit_code);
  collector::AddRecord(app, &exit_code);
  collector::AddVerdict(app, &exit_code);
  collector::AddCompare(app, &exit_code);
  collector::AddReport(app, &exit_code);
  collector::AddCompose(app, &exit_code);
  collector::AddKube(app, &exit_code);
  collector::AddDemo(app, &exit_code);
  try {
    CheckVerb(app, argc, argv);
    app.parse(argc, argv);
    if (app.get_subcommands().empty()) {
      throw collector::UsageError(
          "no verb given: try `cyclescope demo` or see `cyclescope --help`");
    }
    if (std::fflush(stdout) != 0) {
      return Fail(
          "the output could not be written; look whether the disk is "
          "full",
          collector::kExitError);
    }
    return exit_code;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // Help, version.
    return Fail(Sentence(app, error), collector::kExitUsage);
  } catch (const collector::UsageError& error) {
    return Fail(error.what(), collector::kExitUsage);
  } catch (const collector::NotComparable& error) {
    return Fail(error.what(), collector::kExitInvalidRun);
  } catch (const collector::Interrupted&) {
    return Fail("interrupted; what was recorded until then stays",
                collector::kExitInterrupted);
  } catch (const nlohmann::json::exception& error) {
    std::string what = error.what();  // "[json.exception.…] type must be …"
    size_t text = what.find("] ");
    return Fail(
        fmt::format("what was answered or read has another form than this "
                    "program expects ({}); use the inspector and the files "
                    "that came with it",
                    text == std::string::npos ? what : what.substr(text + 2)),
        collector::kExitError);
  } catch (const std::exception& error) {
    return Fail(error.what(), collector::kExitError);
  }
}
