#pragma once

#include <string>
#include <vector>

#include "collector/sample/agent_client.h"
#include "injector/engine.h"

namespace collector {

/// A client of every process with an inspector that `target`
/// (injector/target.h) names, at least one; none has been spoken to yet. Into a
/// container by its socket where this machine may look into it, else by the
/// relay, which the engine's own command starts there. Without `all`, a place
/// that only the relay sees is one client, whose relay decides which process is
/// meant. Throws Error (also injector::Error) if there is none.
std::vector<AgentClient> FindClients(const std::string& target, bool all);

/// Where the inspector lies in a container: the folder of its PYTHONPATH that
/// is called `cyclescope`, else where `compose` and `kube` mount it, as a
/// start-up script may have named it alone.
std::string FolderIn(const injector::Container& container);

}  // namespace collector
