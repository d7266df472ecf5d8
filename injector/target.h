#pragma once

#include <string>

namespace injector {

/// What a person calls a process:
///
///   4711                  its pid, as this machine sees it
///   /run/x/cyclescope-1.sock   the socket of its inspector
///   rules-processing      a container's name or id, a compose project
///   rules-processing@7    the process that the container knows as 7
///   label:app=ccx         containers with that label
///   exec:'oc exec -i POD --'   any command that gives stdin and stdout there;
///   exec@7:'…'            of several processes the one known as 7 there
struct Target {
  enum class Kind { kPid, kSocket, kName, kLabel, kCommand };
  Kind kind = Kind::kPid;
  /// The path, name, label or command; empty for a pid.
  std::string text;
  /// With kPid as this machine sees it, else as the container does; 0: the
  /// only one that there is.
  int pid = 0;
};

/// Throws Error if `text` is nothing of these.
Target ParseTarget(const std::string& text);

/// In the words of a verb's help.
inline constexpr char kTargetHelp[] =
    "A pid, container (NAME@PID: its process PID), compose project, "
    "label:KEY=VALUE, socket, or exec:'CMD' where CMD gives stdin and stdout "
    "there";

}  // namespace injector
