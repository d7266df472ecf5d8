#pragma once

#include <memory>
#include <string>
#include <vector>

#include "collector/sample/channel.h"
#include "injector/environment.h"

namespace collector {

/// A place that only a command reaches: `podman exec -i NAME`, `oc exec -i POD
/// -c app --`, `ssh HOST podman exec -i NAME`. Starts the relay there.
struct RelayPlace {
  std::string name;  // What messages call it.
  /// As a shell reads it; the relay's path is put behind it, unless it names
  /// the relay itself.
  std::string command;
  /// The folder with the inspector in the container.
  std::string folder = injector::kFolderInside;
};

/// One word of a shell's command line, whatever is in it: folders inside are
/// named by the container.
std::string QuotedForShell(const std::string& word);

/// What a command printed, as one line of at most 300 bytes for an error.
std::string OneLine(const std::string& text);

/// The pids, as the place knows them, of all processes with an inspector there.
/// Throws Error if the place cannot be reached.
std::vector<int> AgentsAt(const RelayPlace& place);

/// The inspector of the process that the place knows as `pid`; 0: of the only
/// one. A relay is started with the first request and stays for the next; a
/// second one, if a request comes while the first is busy. They end with this
/// object, and with this process however it ends: their input ends.
std::unique_ptr<Channel> Relayed(const RelayPlace& place, int pid);

}  // namespace collector
