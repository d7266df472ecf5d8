#include "injector/python_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <tuple>

#include "injector/proc.h"
#include "injector/rights.h"
#include "injector/target_socket.h"
#include "injector/unique_fd.h"

namespace injector {

namespace fs = std::filesystem;

namespace {

std::vector<std::string> SplitAtNul(const std::string& block) {
  std::vector<std::string> parts;
  std::istringstream stream(block);
  for (std::string part; std::getline(stream, part, '\0');) {
    parts.push_back(part);
  }
  return parts;
}

/// /proc/PID/status, which anybody may read.
struct Status {
  int pid_inside = 0;
  uid_t uid = 0;                // The effective one.
  int tracer = 0;               // A debugger's pid; 0: none.
  int seccomp = 0;              // 0 none, 1 strict, 2 a filter.
  std::optional<uint64_t> rss;  // None of kernel threads and zombies.
  std::optional<uint64_t> anon;
};

std::optional<Status> ReadStatus(int pid) {
  std::ifstream file(ProcPath(pid, "status"));
  if (!file) return std::nullopt;
  Status status;
  status.pid_inside = pid;
  for (std::string line; std::getline(file, line);) {
    size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    std::string name = line.substr(0, colon);
    std::istringstream value(line.substr(colon + 1));
    uint64_t number = 0;
    if (name == "Uid") {
      value >> number >> number;  // The effective one.
      status.uid = static_cast<uid_t>(number);
    } else if (name == "NSpid") {
      while (value >> number) status.pid_inside = static_cast<int>(number);
    } else if (name == "TracerPid") {
      value >> status.tracer;
    } else if (name == "Seccomp") {
      value >> status.seccomp;
    } else if (name == "VmRSS" && value >> number) {
      status.rss = number * 1024;
    } else if (name == "RssAnon" && value >> number) {
      status.anon = number * 1024;
    }
  }
  return status;
}

/// A file that a process has mapped executable.
struct Mapping {
  std::string range;  // As /proc/PID/map_files names it.
  std::string device;
  uint64_t inode = 0;
  std::string path;
  bool deleted = false;

  auto Key() const { return std::tie(device, inode, path); }
};

/// Each file once, in the order of their addresses. The kernel marks a file
/// that has no name any more.
std::vector<Mapping> ExecutableFiles(const std::string& maps) {
  std::vector<Mapping> files;
  std::istringstream lines(maps);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    Mapping file;
    std::string rights;
    std::string offset;
    words >> file.range >> rights >> offset >> file.device >> file.inode;
    if (file.inode == 0 || rights.size() < 3 || rights[2] != 'x') continue;
    std::getline(words >> std::ws, file.path);
    constexpr char kDeleted[] = " (deleted)";
    if (file.path.ends_with(kDeleted)) {
      file.path.erase(file.path.size() - (sizeof(kDeleted) - 1));
      file.deleted = true;
    }
    auto is_same = [&file](const Mapping& other) {
      return other.Key() == file.Key();
    };
    if (std::none_of(files.begin(), files.end(), is_same)) {
      files.push_back(file);
    }
  }
  return files;
}

/// What a mapped file has in it.
struct Contents {
  bool readable = false;
  std::optional<PythonBinary> python;
  bool is_inspector = false;
};

/// Reads each file once, however many processes have it mapped.
class Files {
 public:
  const Contents& Read(int pid, const Mapping& file, const fs::path& exe) {
    auto key = std::tuple(file.device, file.inode, file.path);
    auto [entry, is_new] = known_.try_emplace(key);
    // A file that was closed to us in one process may be open in another.
    if (is_new || !entry->second.readable) {
      entry->second = Look(pid, file, exe);
    }
    return entry->second;
  }

 private:
  /// The mapped file itself, even if it is deleted, where the kernel allows
  /// (CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE); else by the program's link or
  /// by its name.
  static UniqueFd Open(int pid, const Mapping& file, const fs::path& exe) {
    // Not to hang on what someone has put in the file's place.
    constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
    UniqueFd fd(open(ProcPath(pid, "map_files/" + file.range).c_str(), kFlags));
    if (!fd && file.path == exe) {
      fd = UniqueFd(open(ProcPath(pid, "exe").c_str(), kFlags));
    }
    if (!fd && !file.deleted) {
      fs::path inside = fs::path(file.path).relative_path();
      fd = UniqueFd(
          open((ProcPath(pid, "root") / inside).c_str(), kFlags | O_NOFOLLOW));
    }
    return fd;
  }

  static Contents Look(int pid, const Mapping& file, const fs::path& exe) {
    Contents contents;
    UniqueFd fd = Open(pid, file, exe);
    struct stat entry {};
    if (fd && fstat(fd.get(), &entry) == 0 && S_ISREG(entry.st_mode)) {
      contents.readable = true;
      contents.python = ReadPython(fd.get());
      contents.is_inspector = !contents.python && IsInspector(fd.get());
    }
    return contents;
  }

  std::map<std::tuple<std::string, uint64_t, std::string>, Contents> known_;
};

/// What an interpreter was started with that matters here.
struct CommandLine {
  std::string program;               // As `ps` shows it.
  bool ignores_environment = false;  // -I, -E
  bool has_no_site = false;          // -S
  bool remote_debug_is_off = false;  // -X disable-remote-debug
};

/// Python's own options up to its program; Python/initconfig.c,
/// SHORT_OPTS, 3.14.
CommandLine ParseCommandLine(const std::vector<std::string>& words) {
  CommandLine line;
  for (size_t index = 1; index < words.size(); ++index) {
    const std::string& word = words[index];
    if (word == "-" || !word.starts_with('-')) {
      line.program = fs::path(word).filename().string();
      return line;
    }
    if (word.starts_with("--")) {  // Of them only this one has a value.
      if (word == "--check-hash-based-pycs") ++index;
      continue;
    }
    for (size_t letter = 1; letter < word.size(); ++letter) {
      char flag = word[letter];
      line.ignores_environment |= flag == 'I' || flag == 'E';
      line.has_no_site |= flag == 'S';
      if (std::strchr("cmWXQ", flag) == nullptr) continue;
      std::string value = word.substr(letter + 1);
      if (value.empty() && index + 1 < words.size()) value = words[++index];
      if (flag == 'c') line.program = "-c";
      if (flag == 'm') line.program = "-m " + value;
      if (flag == 'c' || flag == 'm') return line;
      line.remote_debug_is_off |=
          flag == 'X' && (value == "disable-remote-debug" ||
                          value.starts_with("disable-remote-debug="));
      break;
    }
  }
  return line;
}

/// Also if it is empty, as Python/initconfig.c (3.14) takes this one.
bool DisablesRemoteDebug(const std::vector<std::string>& environment) {
  return std::any_of(environment.begin(), environment.end(),
                     [](const std::string& entry) {
                       return entry.starts_with("PYTHON_DISABLE_REMOTE_DEBUG=");
                     });
}

/// Length of the UTF-8 character that begins at `index`; 0 where none does.
size_t CharacterLength(const std::string& text, size_t index) {
  auto first = static_cast<unsigned char>(text[index]);
  size_t length = first < 0x80   ? 1
                  : first < 0xc2 ? 0
                  : first < 0xe0 ? 2
                  : first < 0xf0 ? 3
                  : first < 0xf5 ? 4
                                 : 0;
  if (index + length > text.size()) return 0;
  for (size_t i = index + 1; i < index + length; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return 0;
  }
  if (length < 3) return length;
  // Longer than needed, a surrogate, or past the last character.
  auto second = static_cast<unsigned char>(text[index + 1]);
  bool is_none =
      (first == 0xe0 && second < 0xa0) || (first == 0xed && second >= 0xa0) ||
      (first == 0xf0 && second < 0x90) || (first == 0xf4 && second >= 0x90);
  return is_none ? 0 : length;
}

/// What a process calls itself may be anything: at most `longest` bytes, `?`
/// for control characters and what is no UTF-8.
std::string Printable(const std::string& text, size_t longest) {
  std::string clean;
  for (size_t index = 0; index < text.size();) {
    size_t length = CharacterLength(text, index);
    auto first = static_cast<unsigned char>(text[index]);
    bool is_control = first < 0x20 || first == 0x7f ||
                      (length == 2 && first == 0xc2 &&
                       static_cast<unsigned char>(text[index + 1]) < 0xa0);
    if (clean.size() + length > longest) return clean + "…";
    clean += length == 0 || is_control ? "?" : text.substr(index, length);
    index += std::max<size_t>(length, 1);
  }
  return clean;
}

constexpr size_t kLongestName = 60;

std::string CommandName(int pid) {
  std::string name = ReadFile(ProcPath(pid, "comm")).value_or("");
  while (!name.empty() && name.back() == '\n') name.pop_back();
  return Printable(name, kLongestName);
}

Way ByEnvironment(const PythonProcess& process, const CommandLine& line,
                  const std::vector<std::string>& environment) {
  Way way = {"env", false, ""};
  bool is_off = std::find(environment.begin(), environment.end(),
                          "CYCLESCOPE=0") != environment.end();
  if (!process.unsupported.empty()) {
    way.why_not = process.unsupported;
  } else if (line.ignores_environment) {
    way.why_not =
        "it was started with -I or -E, which ignore PYTHONPATH: start it "
        "without";
  } else if (line.has_no_site) {
    way.why_not =
        "it was started with -S, which leaves sitecustomize out: start it "
        "without";
  } else if (is_off) {
    way.why_not = "CYCLESCOPE=0 switches the inspector off: remove it";
  } else {
    way.open = true;
  }
  return way;
}

/// Opening a process's memory asks the kernel all that ptrace would ask, Yama
/// included, and does nothing to the process.
std::string WhyNoMemory(int pid, const Rights& rights) {
  if (rights.filtered) {
    return "a seccomp filter forbids ptrace to cyclescope itself: run it "
           "outside of this container";
  }
  UniqueFd memory(open(ProcPath(pid, "mem").c_str(), O_RDONLY | O_CLOEXEC));
  return memory ? "" : WhyRefused(rights);
}

Way ByRemoteDebug(const PythonProcess& process, const CommandLine& line,
                  const std::vector<std::string>& environment,
                  const std::string& why_no_memory) {
  Way way = {"remote debug", false, ""};
  if (!process.unsupported.empty()) {
    way.why_not = process.unsupported;
  } else if (!HasRemoteDebug(process.python)) {
    way.why_not = "only CPython 3.14 and later have it";
  } else if (line.remote_debug_is_off) {
    way.why_not =
        "it was started with -X disable-remote-debug: start it without";
  } else if (DisablesRemoteDebug(environment) && !line.ignores_environment) {
    way.why_not = "PYTHON_DISABLE_REMOTE_DEBUG is set: start it without";
  } else {
    way.why_not = why_no_memory;
  }
  way.open = way.why_not.empty();
  return way;
}

Way ByAttaching(const PythonProcess& process, const Status& status,
                const std::string& why_no_memory) {
  Way way = {"attach", false, ""};
  if (!process.unsupported.empty()) {
    way.why_not = process.unsupported;
  } else if (status.tracer != 0) {
    way.why_not = fmt::format("process {} ({}) traces it already: end that",
                              status.tracer, CommandName(status.tracer));
  } else if (status.seccomp == 1) {
    way.why_not =
        "it is in seccomp's strict mode, in which no library can be loaded";
  } else {
    way.why_not = why_no_memory;
  }
  way.open = way.why_not.empty();
  return way;
}

Way ByExec(const PythonProcess& process) {
  Way way = {"exec", false, ""};
  if (!process.unsupported.empty()) {
    way.why_not = process.unsupported;
  } else if (process.container.empty()) {
    way.why_not = "it is in no container";
  } else if (process.engine.empty()) {
    way.why_not =
        "no container engine that answers here knows its container: see "
        "`cyclescope doctor`, or give the command as exec:'CMD'";
  }
  way.open = way.why_not.empty();
  return way;
}

/// 64 hexadecimal digits, as all engines name the cgroups of their containers.
std::string ContainerIdIn(const std::string& cgroups) {
  size_t length = 0;
  for (size_t index = 0; index <= cgroups.size(); ++index) {
    if (index < cgroups.size() &&
        std::strchr("0123456789abcdef", cgroups[index]) != nullptr &&
        cgroups[index] != '\0') {
      ++length;
      continue;
    }
    if (length == 64) return cgroups.substr(index - 64, 64);
    length = 0;
  }
  return "";
}

std::string Namespace(const std::string& process, const char* kind) {
  std::error_code failure;
  return fs::read_symlink("/proc/" + process + "/ns/" + kind, failure).string();
}

/// Which container a process is in: by its cgroup or, as rootless engines may
/// make none, by its pid or mount namespace.
class ContainersOfProcesses {
 public:
  explicit ContainersOfProcesses(const std::vector<Container>& containers) {
    for (const Container& container : containers) {
      by_id_[container.id] = &container;
      if (container.pid == 0) continue;
      for (const char* kind : {"pid", "mnt"}) {
        std::string name = Namespace(std::to_string(container.pid), kind);
        if (!name.empty() && name != Namespace("self", kind)) {
          by_namespace_[name] = &container;
        }
      }
    }
  }

  /// Fills in what is known.
  void Name(int pid, PythonProcess& process) const {
    std::string id =
        ContainerIdIn(ReadFile(ProcPath(pid, "cgroup")).value_or(""));
    const Container* found = nullptr;
    if (auto known = by_id_.find(id); known != by_id_.end()) {
      found = known->second;
    }
    for (const char* kind : {"pid", "mnt"}) {
      if (found != nullptr || by_namespace_.empty()) break;
      auto known = by_namespace_.find(Namespace(std::to_string(pid), kind));
      if (known != by_namespace_.end()) found = known->second;
    }
    if (found != nullptr) {
      process.engine = found->engine;
      process.container = Printable(found->name, kLongestName);
      process.container_id = found->id;
    } else if (!id.empty() && id != own_id_) {
      process.container = id.substr(0, 12);
      process.container_id = id;
    } else if (process.pid_inside != process.pid) {
      process.container = "?";  // Another user's rootless engine made it.
    }
  }

 private:
  std::map<std::string, const Container*> by_id_;
  std::map<std::string, const Container*> by_namespace_;
  // What we run in ourselves is the host to us.
  std::string own_id_ =
      ContainerIdIn(ReadFile("/proc/self/cgroup").value_or(""));
};

class Search {
 public:
  explicit Search(const std::vector<Container>& containers)
      : containers_(containers), rights_(ReadRights()) {}

  void Look(int pid) {
    std::optional<Status> status = ReadStatus(pid);
    if (!status || !status->rss) return;
    PythonProcess process;
    process.pid = pid;
    process.pid_inside = status->pid_inside;
    process.uid = status->uid;
    process.rss = status->rss;
    process.anon = status->anon;

    std::error_code failure;
    fs::path exe = fs::read_symlink(ProcPath(pid, "exe"), failure);
    std::optional<std::string> maps = ReadFile(ProcPath(pid, "maps"));
    if (failure || !maps || maps->empty()) {
      bool is_closed = failure.value() == EACCES || failure.value() == EPERM;
      if (!is_closed) return;  // It has ended.
      containers_.Name(pid, process);
      ++hidden_[process.container];
      return;
    }
    if (!FindPython(*maps, exe, process)) return;
    containers_.Name(pid, process);
    Describe(*status, process);
    result_.found.push_back(std::move(process));
  }

  PythonProcesses Result() {
    for (const auto& [container, count] : hidden_) {
      result_.hidden.push_back({container, count});
    }
    std::sort(
        result_.found.begin(), result_.found.end(),
        [](const auto& one, const auto& two) { return one.pid < two.pid; });
    return std::move(result_);
  }

 private:
  bool FindPython(const std::string& maps, const fs::path& exe,
                  PythonProcess& process) {
    // The link, too, is marked when the file has no name any more.
    std::string named = exe.string();
    constexpr char kDeleted[] = " (deleted)";
    if (named.ends_with(kDeleted)) {
      named.erase(named.size() - (sizeof(kDeleted) - 1));
    }
    bool found = false;
    bool unread = false;
    for (const Mapping& file : ExecutableFiles(maps)) {
      const Contents& contents = files_.Read(process.pid, file, named);
      unread |= !contents.readable && file.deleted;
      process.has_inspector |= contents.is_inspector;
      // The program itself comes before the libraries that it needs.
      if (!contents.python || (found && file.path != named)) continue;
      found = true;
      process.python = *contents.python;
      process.binary = file.path;
      process.deleted = file.deleted;
    }
    if (!found) {
      result_.unsure += unread ? 1 : 0;
      return false;
    }
    // Only whose options are Python's depends on the name.
    std::string name = fs::path(named).filename().string();
    process.embedded = !name.starts_with("python");
    return true;
  }

  void Describe(const Status& status, PythonProcess& process) {
    process.unsupported = WhyUnsupported(process.python);
    std::vector<std::string> words =
        SplitAtNul(ReadFile(ProcPath(process.pid, "cmdline")).value_or(""));
    std::vector<std::string> environment =
        SplitAtNul(ReadFile(ProcPath(process.pid, "environ")).value_or(""));
    CommandLine line;
    if (process.embedded) {
      line.program = CommandName(process.pid);
    } else {
      line = ParseCommandLine(words);
    }
    process.program = Printable(line.program, kLongestName);
    process.binary = Printable(process.binary, PATH_MAX);
    std::string why_no_memory = WhyNoMemory(process.pid, rights_);
    process.ways = {ByEnvironment(process, line, environment),
                    ByRemoteDebug(process, line, environment, why_no_memory),
                    ByAttaching(process, status, why_no_memory),
                    ByExec(process)};
    if (!process.has_inspector) return;
    try {
      process.socket = FindSocket(process.pid).path.string();
    } catch (const Error&) {  // Loaded, and not listening.
    }
  }

  ContainersOfProcesses containers_;
  Rights rights_;
  Files files_;
  std::map<std::string, size_t> hidden_;
  PythonProcesses result_;
};

}  // namespace

PythonProcesses FindPythons(const std::vector<Container>& containers) {
  Search search(containers);
  for (const fs::directory_entry& entry : fs::directory_iterator("/proc")) {
    std::string name = entry.path().filename().string();
    int pid = 0;
    auto [end, error] =
        std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error == std::errc() && *end == '\0') search.Look(pid);
  }
  return search.Result();
}

}  // namespace injector
