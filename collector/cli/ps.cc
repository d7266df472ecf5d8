#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <utility>

#include "collector/cli/text.h"
#include "collector/cli/verbs.h"
#include "injector/engine.h"
#include "injector/python_process.h"

namespace collector {

namespace {

using injector::Engine;
using injector::PythonProcess;
using nlohmann::json;

json OrNull(const std::string& text) {
  return text.empty() ? json() : json(text);
}

json OrNull(std::optional<uint64_t> bytes) {
  return bytes ? json(*bytes) : json();
}

json ToJson(const PythonProcess& process) {
  json ways = json::object();
  for (const injector::Way& way : process.ways) {
    std::string key = way.name;
    std::replace(key.begin(), key.end(), ' ', '_');
    ways[key] = {{"open", way.open}, {"why_not", OrNull(way.why_not)}};
  }
  json container;
  if (!process.container.empty()) {
    container = {
        {"engine", OrNull(process.engine)},
        {"name", process.container == "?" ? json() : json(process.container)},
        {"id", OrNull(process.container_id)}};
  }
  return {{"pid", process.pid},
          {"pid_in_namespace", process.pid_inside},
          {"uid", process.uid},
          {"container", container},
          {"python", OrNull(process.python.version)},
          {"build", process.python.debug ? "debug" : "release"},
          {"free_threaded", process.python.free_threaded},
          {"binary", process.binary},
          {"binary_deleted", process.deleted},
          {"embedded", process.embedded},
          {"program", process.program},
          {"supported", process.unsupported.empty()},
          {"unsupported", OrNull(process.unsupported)},
          {"inspector", process.has_inspector},
          {"socket", OrNull(process.socket)},
          {"rss", OrNull(process.rss)},
          {"anon", OrNull(process.anon)},
          {"ways", ways}};
}

json ToJson(const injector::PythonProcesses& processes,
            const std::vector<Engine>& engines) {
  json all = {{"schema", "cyclescope.ps/1"},
              {"processes", json::array()},
              {"hidden", json::array()},
              {"unsure", processes.unsure},
              {"engines", json::array()}};
  for (const PythonProcess& process : processes.found) {
    all["processes"].push_back(ToJson(process));
  }
  for (const injector::HiddenProcesses& hidden : processes.hidden) {
    all["hidden"].push_back(
        {{"container", OrNull(hidden.container)}, {"count", hidden.count}});
  }
  for (const Engine& engine : engines) {
    all["engines"].push_back({{"name", engine.name},
                              {"socket", OrNull(engine.socket.string())},
                              {"version", OrNull(engine.version)},
                              {"problem", OrNull(engine.problem)}});
  }
  return all;
}

std::string PythonName(const injector::PythonBinary& python) {
  return (python.version.empty() ? "?" : python.version) +
         (python.free_threaded ? "t" : "") + (python.debug ? " debug" : "");
}

std::string OpenWays(const PythonProcess& process) {
  std::vector<std::string> open;
  for (const injector::Way& way : process.ways) {
    if (way.open) open.push_back(way.name);
  }
  return open.empty() ? "none" : fmt::format("{}", fmt::join(open, ", "));
}

std::string PidList(const std::vector<int>& pids) {
  constexpr size_t kShown = 6;
  size_t shown = std::min(pids.size(), kShown);
  std::string text = fmt::format(
      "{}",
      fmt::join(pids.begin(), pids.begin() + static_cast<long>(shown), ", "));
  return pids.size() > shown
             ? text + fmt::format(" and {} more", pids.size() - shown)
             : text;
}

/// Why ways are closed: each reason once, with the processes that it is of.
std::string RenderClosedWays(const std::vector<PythonProcess>& processes) {
  // By the names of the ways and the reason.
  std::map<std::pair<std::string, std::string>, std::vector<int>> reasons;
  for (const PythonProcess& process : processes) {
    std::map<std::string, std::vector<std::string>> closed;
    for (const injector::Way& way : process.ways) {
      // A process of no container lacks nothing.
      if (way.open || (way.name == "exec" && process.container.empty() &&
                       process.unsupported.empty())) {
        continue;
      }
      closed[way.why_not].push_back(way.name);
    }
    for (const auto& [why, names] : closed) {
      std::string closed_ways =
          names.size() == process.ways.size()
              ? "none"
              : fmt::format("no {}", fmt::join(names, ", no "));
      reasons[{closed_ways, why}].push_back(process.pid);
    }
  }
  std::string text;
  for (const auto& [reason, pids] : reasons) {
    text += fmt::format("  {}: {} (pid {})\n", reason.first, reason.second,
                        PidList(pids));
  }
  return text.empty() ? text : "\nclosed ways:\n" + text;
}

std::string Render(const injector::PythonProcesses& processes,
                   const std::vector<Engine>& engines) {
  Table table({"pid", "inside", "container", "python", "program", "inspector",
               "rss", "anon", "ways in"},
              {2, 3, 4, 5, 8});
  for (const PythonProcess& process : processes.found) {
    std::string inspector = !process.has_inspector   ? "no"
                            : process.socket.empty() ? "no socket"
                                                     : "yes";
    table.Add({std::to_string(process.pid), std::to_string(process.pid_inside),
               process.container.empty() ? "-" : process.container,
               PythonName(process.python),
               process.program.empty() ? "-" : process.program, inspector,
               FormatBytes(OrNull(process.rss)),
               FormatBytes(OrNull(process.anon)), OpenWays(process)});
  }
  std::string text = table.Render() + RenderClosedWays(processes.found);
  std::string notes;
  for (const injector::HiddenProcesses& hidden : processes.hidden) {
    std::string where = hidden.container.empty()
                            ? ""
                            : fmt::format(" of container {}", hidden.container);
    notes += fmt::format(
        "  {} process{}{} of other users or with more rights cannot be looked "
        "into{}\n",
        hidden.count, hidden.count == 1 ? "" : "es", where,
        geteuid() == 0 ? ", not even by root here"
                       : ": run cyclescope as root");
  }
  if (processes.unsure > 0) {
    notes += fmt::format(
        "  {} process{} a deleted file mapped that may not be read: whether a "
        "Python is in it, root can see\n",
        processes.unsure, processes.unsure == 1 ? " has" : "es have");
  }
  for (const Engine& engine : engines) {
    if (!engine.problem.empty()) notes += "  " + engine.problem + "\n";
  }
  return notes.empty() ? text : text + "\nnot seen:\n" + notes;
}

void List(bool as_json) {
  std::vector<Engine> engines = injector::FindEngines();
  std::vector<injector::Container> containers =
      injector::ListContainers(engines);
  injector::PythonProcesses processes = injector::FindPythons(containers);
  fmt::print("{}", as_json ? ToJson(processes, engines)
                                     .dump(-1, ' ', false,
                                           json::error_handler_t::replace) +
                                 "\n"
                           : Render(processes, engines));
}

}  // namespace

void AddPs(CLI::App& app, int*) {
  auto as_json = std::make_shared<bool>(false);
  CLI::App* verb = app.add_subcommand(
      "ps",
      "Lists the Python processes of this machine and its containers, and "
      "which ways into them are open");
  verb->add_flag("--json", *as_json, "All of it as JSON");
  verb->footer(
      "Example: cyclescope ps\n"
      "Ways in: env (by environment, at the next start), remote debug "
      "(sys.remote_exec,\n"
      "PEP 768), attach (ptrace), exec (a command in its container)");
  verb->callback([as_json] { List(*as_json); });
}

}  // namespace collector
