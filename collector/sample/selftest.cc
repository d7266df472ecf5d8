#include "collector/sample/selftest.h"

#include <fmt/format.h>

#include <filesystem>

#include "collector/error.h"
#include "collector/sample/agent_client.h"
#include "collector/sample/find_clients.h"
#include "collector/sample/relay_channel.h"
#include "injector/command.h"
#include "injector/engine.h"
#include "injector/environment.h"
#include "injector/target.h"

namespace collector {

namespace fs = std::filesystem;

using injector::Target;

namespace {

using Words = std::vector<std::string>;

/// The relay as it is called where the folder lies.
Words Call(const std::string& folder, const std::string& python) {
  Words words = {folder + "/" + injector::kRelayProgram, "selftest"};
  if (!python.empty()) words.push_back(python);
  return words;
}

Words operator+(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// A new container of the image, with the folder mounted. As it is run, but for
/// the network, which nothing here needs.
Words RunImage(const std::string& image, const SelftestPlan& plan) {
  std::string folder = injector::kFolderInside;
  Words words = Call(folder, plan.python);
  for (const char* engine : {"podman", "docker"}) {
    if (!injector::FindProgram(engine)) continue;
    return Words{engine,
                 "run",
                 "--rm",
                 "--network=none",
                 "--volume=" + injector::FindHookDirectory().string() + ":" +
                     folder + ":ro,z",
                 "--entrypoint=" + words.front()} +
           plan.run_arguments + Words{image} +
           Words(words.begin() + 1, words.end());
  }
  throw Error(
      "image:NAME needs the command podman or docker, and neither is in PATH; "
      "install one, or start a container yourself and name it");
}

/// The interpreter of a process of this machine.
std::string PythonOf(int pid) {
  std::error_code failure;
  fs::path proc = fs::path("/proc") / std::to_string(pid);
  fs::path executable = fs::read_symlink(proc / "exe", failure);
  if (failure) {
    throw Error(fmt::format(
        "process {}: {}; give the pid of a running Python of yours, or run "
        "cyclescope as root",
        pid, failure.message()));
  }
  if (fs::read_symlink(proc / "ns/mnt", failure) !=
      fs::read_symlink("/proc/self/ns/mnt", failure)) {
    throw Error(fmt::format(
        "process {} lives in a container: give the container's name, so that "
        "the self-test runs inside of it",
        pid));
  }
  if (executable.filename().string().find("python") == std::string::npos) {
    throw Error(fmt::format(
        "process {} ({}) is not a Python; give the pid of one, or name the "
        "interpreter by --python",
        pid, executable.filename().string()));
  }
  return executable.string();
}

Words CommandFor(const SelftestPlan& plan) {
  std::string hook = injector::FindHookDirectory().string();
  constexpr std::string_view kImage = "image:";
  if (plan.target.starts_with(kImage))
    return RunImage(plan.target.substr(kImage.size()), plan);
  if (!plan.run_arguments.empty()) {
    throw UsageError(
        "arguments for the engine's `run` go with image:NAME; see `cyclescope "
        "selftest --help`");
  }
  if (plan.target.empty()) return Call(hook, plan.python);
  Target target = injector::ParseTarget(plan.target);
  if (target.kind != Target::Kind::kPid && target.pid != 0) {
    throw UsageError(
        "the self-test is a process of its own: leave out the @PID, and name "
        "another interpreter by --python");
  }
  if (target.kind == Target::Kind::kPid) {
    return Call(hook, plan.python.empty() ? PythonOf(target.pid) : plan.python);
  }
  if (target.kind == Target::Kind::kName) {
    auto container = injector::FindContainer(target.text);
    if (!container) {
      throw Error(fmt::format(
          "there is no container {}; `cyclescope ps` lists what there is",
          target.text));
    }
    return container->exec_command + Call(FolderIn(*container), plan.python);
  }
  if (target.kind == Target::Kind::kCommand) {
    Words words = Call(injector::kFolderInside, plan.python);
    // CMD may name the relay itself.
    if (target.text.find(injector::kRelayProgram) != std::string::npos)
      words.erase(words.begin());
    std::string call = target.text;
    for (const std::string& word : words) call += " " + QuotedForShell(word);
    return {"/bin/sh", "-c", call};
  }
  throw UsageError(
      "selftest takes nothing, a pid, a container, image:NAME or exec:'CMD'; "
      "see `cyclescope selftest --help`");
}

}  // namespace

nlohmann::json Selftest(const SelftestPlan& plan) {
  Words command = CommandFor(plan);
  injector::CommandResult said =
      injector::RunCommand(command, kSelftestTimeout, /*may_ask=*/true);
  // A banner may stand before the line that counts.
  constexpr char kStart[] = "{\"schema\"";
  for (size_t begin = said.output.find(kStart); begin != std::string::npos;
       begin = said.output.find(kStart, begin + 1)) {
    size_t end = said.output.find('\n', begin);
    auto result = nlohmann::json::parse(
        WithoutControlCharacters(said.output.substr(begin, end - begin)),
        nullptr, false);
    if (result.is_object() &&
        result.value("schema", "") == "cyclescope.selftest/1" &&
        result.contains("checks"))
      return result;
  }
  std::string reason = OneLine(said.output + " " + said.errors);
  throw Error(fmt::format(
      "the self-test by `{}` ended without a result (exit status {}){}; look "
      "whether the inspector's folder is there and this user may read it",
      fmt::join(command, " "), said.status,
      reason.empty() ? "" : ": " + reason));
}

}  // namespace collector
