#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "injector/environment.h"

namespace injector {

/// A container engine of this machine, by its socket or by its command.
struct Engine {
  std::string name;              // "podman" or "docker".
  std::filesystem::path socket;  // Empty: by the `podman` command.
  std::string version;           // Empty where it does not answer.
  std::string problem;           // Why it does not answer, and the remedy.
};

/// A container, running or not, as its engine describes it.
struct Container {
  std::string engine;  // Engine::name.
  std::string id;
  std::string name;
  std::string image;
  std::string state;  // As the engine says: running, exited, paused, ...
  int pid = 0;  // First process as this machine sees it; 0: none, not visible.
  std::map<std::string, std::string> labels;
  Environment environment;
  std::string user;  // As configured: empty, a name, uid, uid:gid.
  std::vector<std::string> entrypoint;
  std::vector<std::string> command;
  /// What a command inside is started by: `podman exec -i ID`.
  std::vector<std::string> exec_command;
};

/// What an image sets for the containers made from it.
struct ImageConfiguration {
  Environment environment;
  std::string user;
  std::vector<std::string> entrypoint;
  std::vector<std::string> command;
};

/// The engines that there are signs of, those with a `problem` too. Sockets:
/// DOCKER_HOST, CONTAINER_HOST, $XDG_RUNTIME_DIR/{podman/podman,docker}.sock,
/// /run/podman/podman.sock, /var/run/docker.sock. podman's command is added
/// where the caller's own service does not answer, as on a laptop. Waits a few
/// seconds per engine that hangs.
std::vector<Engine> FindEngines();

/// Every container of one engine. Throws Error if it does not answer.
std::vector<Container> ListContainers(const Engine& engine);

/// Every container of those of the engines that answer, each once. An engine
/// that fails meanwhile gets its `problem`.
std::vector<Container> ListContainers(std::vector<Engine>& engines);

/// Of all engines that answer.
std::vector<Container> ListContainers();

/// The container of this name or of this id, of which the start will do. None
/// if no engine that answers has it. Throws Error if it is ambiguous.
std::optional<Container> FindContainer(const std::string& name_or_id);

/// The image that an engine here has under this name or id.
std::optional<ImageConfiguration> FindImage(const std::string& name);

}  // namespace injector
