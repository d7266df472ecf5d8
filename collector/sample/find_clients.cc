#include "collector/sample/find_clients.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "collector/error.h"
#include "collector/sample/relay_channel.h"
#include "injector/engine.h"
#include "injector/target.h"
#include "injector/target_socket.h"

namespace collector {

using injector::Container;
using injector::Target;

namespace {

std::string Quoted(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words)
    line += (line.empty() ? "" : " ") + QuotedForShell(word);
  return line;
}

/// Whether this machine's process of that number is the container's, by its
/// cgroup: containers may share a pid namespace.
bool IsIn(const Container& container, int pid) {
  std::ifstream file(fmt::format("/proc/{}/cgroup", pid));
  std::string text(std::istreambuf_iterator<char>(file), {});
  return text.find(container.id) != std::string::npos;
}

/// An engine on another machine, or in a virtual one, tells numbers of there.
bool IsHere(const Container& container) {
  return container.pid > 0 && IsIn(container, container.pid);
}

/// Whether all that is in it can be seen from here, so that a relay would find
/// no more.
bool MayLookInto(const Container& container) {
  return IsHere(container) &&
         access(fmt::format("/proc/{}/root/.", container.pid).c_str(), X_OK) ==
             0;
}

std::vector<AgentClient> ClientsIn(const Container& container, int pid,
                                   bool all) {
  if (container.state != "running") {
    throw Error(fmt::format("container {} is not running but {}; {} it",
                            container.name, container.state,
                            container.state == "paused" ? "unpause" : "start"));
  }
  nlohmann::json facts = {{"engine", container.engine},
                          {"name", container.name},
                          {"image", container.image}};
  auto name = [&](int inside) {
    return fmt::format("container {}, process {} there", container.name,
                       inside);
  };
  std::vector<AgentClient> clients;
  if (IsHere(container)) {
    for (const auto& socket : injector::FindSocketsBeside(container.pid)) {
      if (pid != 0 && socket.pid_inside != pid) continue;
      if (!IsIn(container, socket.pid)) continue;
      clients.emplace_back(SocketOf(socket.pid), name(socket.pid_inside),
                           facts);
    }
  }
  if (!clients.empty()) return clients;
  auto none = [&] {
    return Error(fmt::format(
        "there is no inspector in {}container {}: start it with what "
        "`cyclescope compose` prints, or look whether its Python runs with -I, "
        "-E or -S",
        pid == 0 ? "" : fmt::format("process {} of ", pid), container.name));
  };
  if (MayLookInto(container)) throw none();
  RelayPlace place = {fmt::format("container {}", container.name),
                      Quoted(container.exec_command), FolderIn(container)};
  if (pid != 0 || !all) {
    clients.emplace_back(
        Relayed(place, pid),
        pid != 0 ? name(pid) : fmt::format("container {}", container.name),
        facts);
    return clients;
  }
  for (int agent : AgentsAt(place))
    clients.emplace_back(Relayed(place, agent), name(agent), facts);
  if (clients.empty()) throw none();
  return clients;
}

bool HasLabel(const Container& container, const std::string& key,
              const std::string& value) {
  auto label = container.labels.find(key);
  return label != container.labels.end() && label->second == value;
}

bool IsOfProject(const Container& container, const std::string& project) {
  return HasLabel(container, "com.docker.compose.project", project) ||
         HasLabel(container, "io.podman.compose.project", project);
}

/// What the engines that are there said when they did not answer.
std::string EngineProblems() {
  std::string text;
  bool answers = false;
  for (const injector::Engine& engine : injector::FindEngines()) {
    answers |= engine.problem.empty();
    if (!engine.problem.empty())
      text += fmt::format("; {}: {}", engine.name, engine.problem);
  }
  if (answers) return "; `cyclescope ps` lists what there is";
  return text.empty() ? "; no container engine is found here" : text;
}

std::vector<AgentClient> ClientsWith(const std::vector<Container>& containers) {
  std::vector<AgentClient> clients;
  std::string problem;
  for (const Container& container : containers) {
    if (container.state != "running") continue;
    // In a project there are databases and brokers, too.
    try {
      for (AgentClient& client : ClientsIn(container, 0, true))
        clients.push_back(std::move(client));
    } catch (const std::runtime_error& error) {
      problem += fmt::format("; {}", error.what());
    }
  }
  if (clients.empty())
    throw Error("there is no inspector in any of these containers" + problem);
  return clients;
}

std::vector<AgentClient> ClientsNamed(const Target& target, bool all) {
  if (target.kind == Target::Kind::kName) {
    if (auto container = injector::FindContainer(target.text))
      return ClientsIn(*container, target.pid, all);
  }
  std::vector<Container> chosen;
  size_t equals = target.text.find('=');
  for (Container& container : injector::ListContainers()) {
    bool is_one = target.kind == Target::Kind::kName
                      ? IsOfProject(container, target.text)
                      : HasLabel(container, target.text.substr(0, equals),
                                 target.text.substr(equals + 1));
    if (is_one) chosen.push_back(std::move(container));
  }
  if (!chosen.empty()) return ClientsWith(chosen);
  throw Error(target.kind == Target::Kind::kName
                  ? fmt::format("target '{}': no container, compose project, "
                                "pid or socket has that name{}",
                                target.text, EngineProblems())
                  : fmt::format("no container has the label {}{}", target.text,
                                EngineProblems()));
}

}  // namespace

std::string FolderIn(const Container& container) {
  auto path = container.environment.find("PYTHONPATH");
  std::istringstream folders(path != container.environment.end() ? path->second
                                                                 : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (folder.starts_with('/') && folder.ends_with("/cyclescope"))
      return folder;
  }
  return std::string(injector::kFolderInside);
}

std::vector<AgentClient> FindClients(const std::string& text, bool all) {
  Target target = injector::ParseTarget(text);
  std::vector<AgentClient> clients;
  switch (target.kind) {
    case Target::Kind::kPid:
      clients.emplace_back(SocketOf(target.pid),
                           fmt::format("process {}", target.pid));
      break;
    case Target::Kind::kSocket:
      clients.emplace_back(SocketAt(target.text), target.text);
      break;
    case Target::Kind::kCommand: {
      RelayPlace place = {fmt::format("exec '{}'", target.text), target.text};
      auto name = [&](int pid) {
        return pid == 0 ? place.name
                        : fmt::format("{}, process {} there", place.name, pid);
      };
      std::vector<int> agents;
      if (all && target.pid == 0) agents = AgentsAt(place);
      // With 0 the relay takes the only one, or tells why it cannot.
      if (agents.empty()) agents = {target.pid};
      for (int agent : agents)
        clients.emplace_back(Relayed(place, agent), name(agent));
      break;
    }
    case Target::Kind::kName:
    case Target::Kind::kLabel:
      return ClientsNamed(target, all);
  }
  return clients;
}

}  // namespace collector
