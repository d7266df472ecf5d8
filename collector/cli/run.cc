#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "collector/cli/verbs.h"
#include "collector/error.h"
#include "injector/environment.h"

namespace collector {

namespace {

/// Becomes the command: its exit status and signals are its own.
[[noreturn]] void Become(std::vector<std::string> command) {
  const char* inherited = std::getenv("PYTHONPATH");
  for (const auto& [name, value] : injector::InspectorEnvironment(
           injector::FindHookDirectory(), inherited ? inherited : "")) {
    setenv(name.c_str(), value.c_str(), 1);
  }
  std::vector<char*> arguments;
  for (std::string& argument : command) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  std::signal(SIGPIPE, SIG_DFL);  // Would be inherited.
  execvp(arguments[0], arguments.data());
  throw Error(fmt::format("run {}: {}; give the program as you would start it",
                          command[0], std::strerror(errno)));
}

}  // namespace

void AddRun(CLI::App& app, int*) {
  auto command = std::make_shared<std::vector<std::string>>();
  CLI::App* verb =
      app.add_subcommand("run", "Starts CMD with the inspector loaded");
  verb->add_option("CMD", *command, "The program and its arguments, after --")
      ->required();
  verb->positionals_at_end();
  verb->footer("Example: cyclescope run -- python3 -m my_service --port 8000");
  verb->callback([command] { Become(*command); });
}

}  // namespace collector
