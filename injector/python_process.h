#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "injector/engine.h"
#include "injector/python_binary.h"

namespace injector {

/// One way to bring the inspector into a process, or to its agent.
struct Way {
  /// `env`: by environment, at its next start. `remote debug`: sys.remote_exec
  /// from outside (PEP 768). `attach`: by ptrace. `exec`: a command in its
  /// container.
  std::string name;
  bool open = false;
  std::string why_not;  // With the remedy, if there is one.
};

/// A process with a CPython in it.
struct PythonProcess {
  int pid = 0;         // As this machine sees it.
  int pid_inside = 0;  // As the process itself sees it.
  uid_t uid = 0;
  std::string binary;  // The mapped file that Python is in, as the process
                       // names it; it may be gone (`deleted`) or replaced.
  bool deleted = false;
  bool embedded = false;  // In a program that is not called python.
  PythonBinary python;
  std::string unsupported;  // Why the inspector can't work in it; else empty.
  std::string engine;       // Of its container; empty if that is not known.
  std::string container;    // Its name, or the start of its id, or `?` of one
                            // that only its pids tell; empty: none.
  std::string container_id;
  bool has_inspector = false;    // Mapped.
  std::string socket;            // Where it listens; empty: nowhere.
  std::optional<uint64_t> rss;   // Bytes.
  std::optional<uint64_t> anon;  // Bytes, the part that no file backs.
  std::string program;           // `-m my_service`, `worker.py`, `-c`, ...
  std::vector<Way> ways;
};

/// What this user may not look into.
struct HiddenProcesses {
  std::string container;  // Empty: in none that is known.
  size_t count = 0;
};

struct PythonProcesses {
  std::vector<PythonProcess> found;     // By pid.
  std::vector<HiddenProcesses> hidden;  // By container.
  /// Processes that have a deleted file mapped which this user may not read,
  /// and may be Pythons.
  size_t unsure = 0;
};

/// Every CPython process that this user may look into, on this machine and in
/// its containers; `containers` (of ListContainers) give them their names.
/// Tells a Python by the files that it has mapped, not by their names; each
/// file is read once. Cost: 0.1 to 0.3 ms a process. 32-bit ones are not seen.
PythonProcesses FindPythons(const std::vector<Container>& containers);

}  // namespace injector
