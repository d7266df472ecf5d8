#include "injector/machine_checks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>

#include "injector/command.h"
#include "injector/environment.h"
#include "injector/proc.h"

namespace injector {

namespace fs = std::filesystem;

namespace {

using State = Check::State;

/// The first mounts that count: later ones may be of containers.
struct Cgroups {
  std::optional<fs::path> v2;
  std::optional<fs::path> v1_memory;
  bool v1 = false;
};

Cgroups FindCgroups(const fs::path& root) {
  Cgroups cgroups;
  for (const Mount& mount : ReadMounts(root)) {
    if (mount.type == "cgroup2" && !cgroups.v2) cgroups.v2 = mount.path;
    if (mount.type != "cgroup") continue;
    cgroups.v1 = true;
    if (mount.options.find(",memory,") != std::string::npos &&
        !cgroups.v1_memory) {
      cgroups.v1_memory = mount.path;
    }
  }
  return cgroups;
}

bool HasWord(const fs::path& file, const std::string& word) {
  std::ifstream stream(file);
  for (std::string found; stream >> found;) {
    if (found == word) return true;
  }
  return false;
}

/// The memory.stat of a process's cgroup. None where it has no cgroup but that
/// of the whole machine.
std::optional<fs::path> MemoryStat(const fs::path& root, const Cgroups& cgroups,
                                   int pid) {
  std::ifstream file(root / "proc" / std::to_string(pid) / "cgroup");
  for (std::string line; std::getline(file, line);) {
    size_t first = line.find(':');
    size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::string controllers =
        "," + line.substr(first + 1, second - first - 1) + ",";
    fs::path path = fs::path(line.substr(second + 1)).relative_path();
    bool is_memory = controllers.find(",memory,") != std::string::npos;
    // On a hybrid machine version 2 counts no memory.
    bool is_v2 = controllers == ",," && !cgroups.v1_memory;
    if ((!is_memory && !is_v2) || path.empty()) continue;
    const std::optional<fs::path>& mount =
        is_memory ? cgroups.v1_memory : cgroups.v2;
    if (mount) return root / mount->relative_path() / path / "memory.stat";
  }
  return std::nullopt;
}

/// Of a sentence that ends with the remedy.
Check FromSentence(const std::string& name, State state,
                   const std::string& sentence) {
  size_t end = std::min(sentence.rfind("; "), sentence.size());
  return {name, state, sentence.substr(0, end),
          sentence.substr(std::min(end + 2, sentence.size()))};
}

Check CheckDisk(const std::string& name, const fs::path& folder) {
  Check check = {name, State::kOk, "", ""};
  struct statvfs disk {};
  if (statvfs(folder.c_str(), &disk) != 0 ||
      access(folder.c_str(), W_OK | X_OK) != 0) {
    check.state = State::kMissing;
    check.finding = fmt::format("{}: cannot be written: {}", folder.string(),
                                std::strerror(errno));
    check.remedy = "work in a folder of your own";
    return check;
  }
  double free_gib = static_cast<double>(disk.f_bavail) *
                    static_cast<double>(disk.f_frsize) / (1 << 30);
  check.finding = fmt::format("{}: {:.1f} GiB free", folder.string(), free_gib);
  if (free_gib < 1) {
    check.state = State::kLimited;
    check.remedy =
        "a heap file of a large service may have 1 GiB: free some room";
  }
  return check;
}

}  // namespace

std::vector<Check> CheckEngines(const std::vector<Engine>& engines,
                                size_t running) {
  std::vector<Check> checks;
  bool any_answers = false;
  for (const Engine& engine : engines) {
    if (!engine.problem.empty()) {
      checks.push_back(
          FromSentence(engine.name, State::kLimited, engine.problem));
      continue;
    }
    any_answers = true;
    checks.push_back(
        {engine.name, State::kOk,
         fmt::format("version {}, {}",
                     engine.version.empty() ? "not told" : engine.version,
                     engine.socket.empty()
                         ? "by its command"
                         : "by the socket " + engine.socket.string()),
         ""});
  }
  for (const char* name : {"podman", "docker"}) {
    auto is_it = [name](const Engine& engine) { return engine.name == name; };
    if (std::any_of(engines.begin(), engines.end(), is_it)) continue;
    checks.push_back(
        {name, State::kMissing, "neither a socket nor its command is here",
         any_answers ? "not needed, unless your containers run in it"
                     : "install it, or name its socket by DOCKER_HOST or "
                       "CONTAINER_HOST; without, a container is reached by "
                       "exec:'CMD'"});
  }
  if (any_answers) {
    checks.push_back(
        {"containers", State::kOk, fmt::format("{} running", running), ""});
  }
  return checks;
}

Check CheckCgroups(const fs::path& root) {
  Cgroups cgroups = FindCgroups(root);
  Check check = {"cgroups", State::kOk, "", ""};
  if (cgroups.v1_memory) {
    check.finding =
        fmt::format("{}, memory is counted by version 1 at {}",
                    cgroups.v2 ? "hybrid (versions 1 and 2)" : "version 1",
                    cgroups.v1_memory->string());
  } else if (cgroups.v2) {
    fs::path mount = root / cgroups.v2->relative_path();
    check.finding =
        fmt::format("{} at {}",
                    cgroups.v1 ? "hybrid (versions 1 and 2), memory "
                                 "would be counted by version 2"
                               : "version 2",
                    cgroups.v2->string());
    if (!HasWord(mount / "cgroup.controllers", "memory")) {
      check.state = State::kLimited;
      check.finding += ", without its memory controller";
      check.remedy =
          "memory is read from each process's /proc instead; on the machine "
          "itself remove cgroup_disable=memory from the kernel's command "
          "line, for a user's own engine let systemd delegate `memory`";
    }
  } else {
    check.state = State::kMissing;
    check.finding = "no hierarchy that counts memory is mounted";
    check.remedy =
        "memory is read from each process's /proc instead; limits are not "
        "seen";
  }
  return check;
}

Check CheckMemoryFiles(const std::vector<int>& pids, const fs::path& root) {
  Check check = {"memory files", State::kOk, "no container runs", ""};
  if (pids.empty()) return check;
  Cgroups cgroups = FindCgroups(root);
  size_t readable = 0;
  std::string first_closed;
  for (int pid : pids) {
    std::optional<fs::path> file = MemoryStat(root, cgroups, pid);
    bool opens = file && (HasWord(*file, "anon") || HasWord(*file, "rss"));
    readable += opens ? 1 : 0;
    if (opens || !first_closed.empty()) continue;
    first_closed =
        file ? file->string()
             : fmt::format("process {}, which has no memory cgroup", pid);
  }
  check.finding = fmt::format("{} of {} containers' memory.stat can be read",
                              readable, pids.size());
  if (readable < pids.size()) {
    check.state = readable > 0 ? State::kLimited : State::kMissing;
    check.finding += ", not that of " + first_closed;
    check.remedy =
        "memory is read from each process's /proc, or told by its inspector; "
        "run cyclescope where /sys/fs/cgroup is the machine's";
  }
  return check;
}

Check CheckPtrace(const Rights& rights) {
  bool may_all = rights.Has(CAP_SYS_PTRACE);
  std::string scope =
      rights.yama_scope
          ? fmt::format("kernel.yama.ptrace_scope = {}", *rights.yama_scope)
          : "no Yama";
  Check check = {"ptrace", State::kOk, "", ""};
  if (rights.filtered) {
    check.state = State::kMissing;
    check.finding = "a seccomp filter forbids it to cyclescope";
    check.remedy =
        "run cyclescope outside of this container, or the container with a "
        "seccomp profile that lets ptrace through";
  } else if (rights.yama_scope == 3) {
    check.state = State::kMissing;
    check.finding = scope + ": nobody may trace";
    check.remedy =
        "the inspector comes in by environment only; another value needs a "
        "new start of the machine";
  } else if (may_all) {
    check.finding = scope + ", CAP_SYS_PTRACE: every process";
  } else if (rights.yama_scope == 1 || rights.yama_scope == 2) {
    check.state = State::kMissing;
    check.finding =
        scope + (rights.yama_scope == 1 ? ": only a parent may trace"
                                        : ": only CAP_SYS_PTRACE may trace");
    check.remedy = "run cyclescope as root";
    if (rights.yama_scope == 1) {
      check.remedy += ", or `sysctl kernel.yama.ptrace_scope=0`";
    }
  } else {
    check.state = State::kLimited;
    check.finding = fmt::format(
        "{}, no CAP_SYS_PTRACE: processes of user {} only", scope, rights.uid);
    check.remedy = "run cyclescope as root to reach those of others";
  }
  return check;
}

Check CheckCapabilities(const Rights& rights) {
  bool may_open_maps =
      rights.Has(CAP_SYS_ADMIN) || rights.Has(CAP_CHECKPOINT_RESTORE);
  std::vector<std::string> lost;
  if (!rights.Has(CAP_SYS_PTRACE)) {
    lost.push_back("other users' processes (CAP_SYS_PTRACE)");
  }
  if (!rights.Has(CAP_DAC_READ_SEARCH) && !rights.Has(CAP_DAC_OVERRIDE)) {
    lost.push_back("other users' files (CAP_DAC_READ_SEARCH)");
  }
  if (!may_open_maps) {
    lost.push_back(
        "libraries that were deleted while in use (CAP_CHECKPOINT_RESTORE)");
  }
  if (lost.empty()) {
    return {"capabilities", State::kOk, "all that cyclescope uses", ""};
  }
  return {"capabilities", State::kLimited,
          fmt::format("not within reach: {}", fmt::join(lost, ", ")),
          "run cyclescope as root"};
}

Check CheckSeccomp(const Rights& rights, const fs::path& root) {
  std::ifstream status(root / "proc/self/status");
  std::string mode = "0";
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("Seccomp:"))
      mode = line.substr(line.find_last_not_of("0123456789") + 1);
  }
  if (mode == "0") {
    return {"seccomp", State::kOk, "no filter on cyclescope itself", ""};
  }
  if (rights.filtered) {
    return {"seccomp", State::kLimited,
            "a filter on cyclescope itself forbids ptrace",
            "run cyclescope outside of this container"};
  }
  return {"seccomp", State::kOk,
          "a filter on cyclescope itself, which lets ptrace through", ""};
}

Check CheckProc(const fs::path& root) {
  if (!fs::exists(root / "proc/self/status")) {
    throw Error(
        "there is no /proc: mount it, or start this container with one; "
        "nothing can be looked at without");
  }
  for (const Mount& mount : ReadMounts(root)) {
    if (mount.type != "proc" || mount.path != "/proc") continue;
    for (const char* hides :
         {",hidepid=1,", ",hidepid=2,", ",hidepid=noaccess,",
          ",hidepid=invisible,", ",hidepid=4,", ",hidepid=ptraceable,"}) {
      if (mount.options.find(hides) == std::string::npos) continue;
      return {"processes", State::kLimited,
              "/proc is mounted with hidepid, which hides other users' "
              "processes",
              "run cyclescope as root"};
    }
  }
  return {"processes", State::kOk, "/proc shows all that run here", ""};
}

Check CheckInspector() {
  try {
    return {"inspector", State::kOk, FindHookDirectory().string(), ""};
  } catch (const Error& error) {  // One line of several.
    return FromSentence("inspector", State::kMissing, error.what());
  }
}

std::vector<Check> CheckPythons(const PythonProcesses& processes) {
  std::vector<Check> checks;
  size_t supported = 0;
  size_t inspected = 0;
  size_t hidden = 0;
  for (const PythonProcess& process : processes.found) {
    supported += process.unsupported.empty() ? 1 : 0;
    inspected += process.has_inspector ? 1 : 0;
  }
  for (const HiddenProcesses& one : processes.hidden) hidden += one.count;
  Check running = {"Pythons", State::kOk,
                   fmt::format("{} run, {} of a supported version, {} with the "
                               "inspector; `cyclescope ps` lists them",
                               processes.found.size(), supported, inspected),
                   ""};
  if (hidden > 0 && geteuid() != 0) {
    running.state = State::kLimited;
    running.finding +=
        fmt::format("; {} other processes cannot be looked into", hidden);
    running.remedy = "run cyclescope as root";
  }
  checks.push_back(running);

  Check own = {"python3", State::kMissing, "PATH has none",
               "needed for `run -- python3 …` on this machine only"};
  if (std::optional<fs::path> path = FindProgram("python3")) {
    try {
      CommandResult said = RunCommand(
          {path->string(), "-I", "-S", "-c",
           "import sys; print('%08x %s' % (sys.hexversion, sys.abiflags))"},
          std::chrono::seconds(10));
      PythonBinary python;
      std::istringstream words(said.output);
      std::string flags;
      words >> std::hex >> python.version_hex >> flags;
      python.free_threaded = flags.find('t') != std::string::npos;
      python.debug = flags.find('d') != std::string::npos;
      python.version = fmt::format("{}.{}.{}", python.version_hex >> 24,
                                   python.version_hex >> 16 & 0xff,
                                   python.version_hex >> 8 & 0xff);
      own = {"python3", State::kOk,
             fmt::format("{} at {}", python.version, path->string()), ""};
      if (!WhyUnsupported(python).empty()) {
        own.state = State::kLimited;
        own.finding += ", which is not supported";
        own.remedy =
            "start services with one that is: " + std::string(kSupported);
      }
    } catch (const Error& error) {  // One line of several.
      own = FromSentence("python3", State::kLimited, error.what());
    }
  }
  checks.push_back(own);
  return checks;
}

Check CheckClock() {
  timex clock{};
  int state = adjtimex(&clock);  // Reads; sets nothing.
  if (state < 0) {
    return {"clock", State::kLimited,
            fmt::format("whether it is kept in step cannot be read: {}",
                        std::strerror(errno)),
            "times in reports may differ from other machines'"};
  }
  if (state == TIME_ERROR || (clock.status & STA_UNSYNC) != 0) {
    return {"clock", State::kLimited, "no time service keeps it in step",
            "times in reports may differ from other machines'; durations and "
            "rates hold. Start chrony or systemd-timesyncd"};
  }
  return {"clock", State::kOk,
          fmt::format("kept in step, error at most {:.1f} ms",
                      static_cast<double>(clock.maxerror) / 1000),
          ""};
}

std::vector<Check> CheckDisks() {
  std::error_code failure;
  fs::path here = fs::current_path(failure);
  std::vector<Check> checks = {
      CheckDisk("disk", failure ? fs::path(".") : here)};
  fs::path temporary = fs::temp_directory_path(failure);
  checks.push_back(
      CheckDisk("temporary files", failure ? fs::path("/tmp") : temporary));
  return checks;
}

}  // namespace injector
