#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "injector/engine.h"
#include "injector/python_process.h"
#include "injector/rights.h"

namespace injector {

/// One thing that cyclescope needs of the machine and how it stands.
struct Check {
  enum class State { kOk, kLimited, kMissing };
  std::string name;
  State state = State::kOk;
  std::string finding;
  std::string remedy;  // Empty where there is nothing to mend.
};

// Where a `root` is taken it stands for "/" and is there for tests.

/// podman and docker, a line for each of the engines and for either that there
/// is no sign of. `running` counts the containers that they run.
std::vector<Check> CheckEngines(const std::vector<Engine>& engines,
                                size_t running);

/// Version 2, version 1, or both (hybrid), and which of them counts memory.
Check CheckCgroups(const std::filesystem::path& root = "/");

/// Whether memory.stat of the cgroup of each container's process can be read.
Check CheckMemoryFiles(const std::vector<int>& pids,
                       const std::filesystem::path& root = "/");

/// Yama and the capability to trace.
Check CheckPtrace(const Rights& rights);

/// The capabilities that open other users' processes and deleted files.
Check CheckCapabilities(const Rights& rights);

/// Our own seccomp filter.
Check CheckSeccomp(const Rights& rights,
                   const std::filesystem::path& root = "/");

/// Whether other users' processes are shown in /proc. Throws Error if there is
/// no /proc: nothing can be looked at then.
Check CheckProc(const std::filesystem::path& root = "/");

/// The files that are brought into processes.
Check CheckInspector();

/// The processes, and the `python3` that PATH finds.
std::vector<Check> CheckPythons(const PythonProcesses& processes);

/// Whether the kernel's clock is kept in step with the world's.
Check CheckClock();

/// Room for runs and heap files, here and for temporary files.
std::vector<Check> CheckDisks();

}  // namespace injector
