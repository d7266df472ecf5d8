#include "injector/target_socket.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>

#include "injector/environment.h"
#include "injector/proc.h"

namespace injector {

namespace fs = std::filesystem;

namespace {

constexpr time_t kConnectTimeoutS = 5;

[[noreturn]] void ThrowNoProcess(pid_t pid) {
  throw Error("there is no process " + std::to_string(pid) +
              ": give the pid of a running Python as this machine sees it");
}

[[noreturn]] void ThrowOtherUser(pid_t pid) {
  if (geteuid() == 0) {
    throw Error("process " + std::to_string(pid) +
                " may not be looked into, not even by root here: run "
                "cyclescope in the namespace that the process lives in");
  }
  throw Error("process " + std::to_string(pid) +
              " belongs to another user: run cyclescope as that user or as "
              "root");
}

/// The numbers behind `name` in /proc/PID/status.
std::vector<long> Numbers(const std::string& status, const std::string& name) {
  std::vector<long> numbers;
  size_t line = status.find("\n" + name + ":");
  if (line == std::string::npos) return numbers;
  line += name.size() + 2;
  std::istringstream words(status.substr(line, status.find('\n', line) - line));
  for (long number = 0; words >> number;) numbers.push_back(number);
  return numbers;
}

/// The value of a variable in a NUL-separated environment block.
std::optional<std::string> Variable(const std::string& block,
                                    const std::string& name) {
  std::string prefix = name + "=";
  for (size_t begin = 0; begin < block.size();) {
    size_t end = block.find('\0', begin);
    if (end == std::string::npos) end = block.size();
    if (block.compare(begin, prefix.size(), prefix) == 0) {
      return block.substr(begin + prefix.size(), end - begin - prefix.size());
    }
    begin = end + 1;
  }
  return std::nullopt;
}

bool IsPython(pid_t pid, const std::string& executable) {
  if (executable.find("python") != std::string::npos) return true;
  // A program that embeds Python has the library or our inspector mapped.
  std::string maps = ReadFile(ProcPath(pid, "maps")).value_or("");
  return maps.find("libpython") != std::string::npos ||
         maps.find("_cyclescope.abi3.so") != std::string::npos;
}

/// The entry `path` as the process finds it whose root (or working directory)
/// is `root`; a link that leads out of there leads back in. -1 and errno if
/// there is none.
UniqueFd OpenInside(const fs::path& root, const std::string& path) {
  UniqueFd folder(open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return folder;
  open_how how = {};
  how.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  UniqueFd entry(static_cast<int>(
      syscall(SYS_openat2, folder.get(), path.c_str(), &how, sizeof how)));
  if (entry || errno != ENOSYS) return entry;
  // Linux before 5.6: step by step, and no links at all.
  for (const fs::path& part : fs::path(path).relative_path()) {
    UniqueFd next(
        openat(folder.get(), part.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!next) return next;
    folder = std::move(next);
  }
  return folder;
}

/// What the inspector may call its socket (inspector/agent/listener.h), the
/// name that is its own alone first.
std::vector<std::string> NamesOf(pid_t pid, int pid_inside) {
  std::string stem = "cyclescope-" + std::to_string(pid_inside);
  std::vector<std::string> names = {stem + ".sock"};
  std::error_code failure;
  std::string link = fs::read_symlink(ProcPath(pid, "ns/pid"), failure);
  size_t begin = link.find('[');
  if (!failure && begin != std::string::npos && link.ends_with(']'))
    names.insert(
        names.begin(),
        stem + "-" + link.substr(begin + 1, link.size() - begin - 2) + ".sock");
  return names;
}

std::vector<std::pair<fs::path, std::string>> Places(
    const std::vector<fs::path>& folders,
    const std::vector<std::string>& names) {
  std::vector<std::pair<fs::path, std::string>> places;
  for (const fs::path& folder : folders)
    for (const std::string& name : names) places.emplace_back(folder, name);
  return places;
}

bool IsSocket(const UniqueFd& entry) {
  struct stat status = {};
  return fstat(entry.get(), &status) == 0 && S_ISSOCK(status.st_mode);
}

/// errno of connect(), 0 if it worked. By the open entry, whose path may be
/// longer than an address, or replaced meanwhile.
int ConnectByEntry(int socket, int entry) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d",
                entry);
  return connect(socket, reinterpret_cast<sockaddr*>(&address),
                 sizeof address) == 0
             ? 0
             : errno;
}

/// The same as another user: the calls below change the calling thread alone.
int ConnectAs(uid_t uid, gid_t gid, int socket, int entry) {
  int failure = 0;
  std::thread([&] {
    constexpr auto kKeep = static_cast<uid_t>(-1);
    if (syscall(SYS_setresgid, kKeep, gid, kKeep) != 0 ||
        syscall(SYS_setresuid, kKeep, uid, kKeep) != 0)
      failure = errno;
    else
      failure = ConnectByEntry(socket, entry);
  }).join();
  prctl(PR_SET_DUMPABLE, 1);  // The change of user took it away.
  return failure;
}

}  // namespace

TargetSocket FindSocket(pid_t pid) {
  std::optional<std::string> status = ReadFile(ProcPath(pid, "status"));
  if (pid <= 0 || !status) ThrowNoProcess(pid);

  std::error_code failure;
  fs::path executable = fs::read_symlink(ProcPath(pid, "exe"), failure);
  if (failure.value() == EACCES) ThrowOtherUser(pid);
  std::optional<std::string> environment = ReadFile(ProcPath(pid, "environ"));
  if (!environment) {
    if (!fs::exists(ProcPath(pid, "status"))) ThrowNoProcess(pid);
    ThrowOtherUser(pid);
  }
  std::string name = executable.filename().string();
  if (!IsPython(pid, name)) {
    throw Error("process " + std::to_string(pid) + " (" +
                (name.empty() ? "no executable" : name) +
                ") is not a Python: give the pid of the interpreter, not of "
                "its shell or parent");
  }

  std::vector<fs::path> folders = {"/run", "/tmp", "/dev/shm"};
  if (std::optional<std::string> own = Variable(*environment, "CYCLESCOPE_DIR");
      own && !own->empty()) {
    folders = {*own};
  }
  std::vector<long> pids = Numbers(*status, "NSpid");
  std::vector<long> uids = Numbers(*status, "Uid");
  std::vector<long> gids = Numbers(*status, "Gid");
  TargetSocket found;
  found.pid = pid;
  found.pid_inside = pids.empty() ? pid : static_cast<int>(pids.back());
  found.uid = static_cast<uid_t>(uids.size() > 1 ? uids[1] : 0);
  found.gid = static_cast<gid_t>(gids.size() > 1 ? gids[1] : 0);
  for (const auto& [folder, file] :
       Places(folders, NamesOf(pid, found.pid_inside))) {
    // A relative folder is relative to where the process stands.
    fs::path root = ProcPath(pid, folder.is_absolute() ? "root" : "cwd");
    found.path = root / folder.relative_path() / file;
    found.entry = OpenInside(root, (folder / file).string());
    if (found.entry && !IsSocket(found.entry)) {
      throw Error(found.path.string() +
                  " is not a socket, though the inspector of process " +
                  std::to_string(pid) +
                  " would listen there: someone put something else in its "
                  "place; remove it and restart the service");
    }
    if (found.entry) return found;
    if (errno == EACCES) ThrowOtherUser(pid);
  }
  throw Error("there is no inspector in process " + std::to_string(pid) + " (" +
              name +
              "): start it with `cyclescope run -- CMD`, in a container with "
              "what `cyclescope compose` or `cyclescope kube` prints");
}

TargetSocket OpenSocket(const fs::path& path) {
  TargetSocket found;
  found.path = path;
  found.entry = UniqueFd(open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat status = {};
  if (!found.entry || fstat(found.entry.get(), &status) != 0) {
    throw Error("socket " + path.string() + ": " + std::strerror(errno) +
                "; look whether the process still runs and was started with "
                "`cyclescope run -- CMD`");
  }
  if (!S_ISSOCK(status.st_mode)) {
    throw Error(path.string() + " is not a socket" +
                (S_ISLNK(status.st_mode) ? " but a link" : "") +
                ": give a pid or the socket of an inspector");
  }
  found.uid = status.st_uid;
  found.gid = status.st_gid;
  return found;
}

std::vector<TargetSocket> FindSocketsBeside(pid_t first) {
  auto place = [](pid_t pid) {
    std::error_code failure;
    fs::path space = fs::read_symlink(ProcPath(pid, "ns/pid"), failure);
    if (failure) return std::string();
    if (space != fs::read_symlink("/proc/self/ns/pid", failure))
      return space.string();
    return ReadFile(ProcPath(pid, "cgroup")).value_or("");
  };
  std::vector<TargetSocket> sockets;
  std::string wanted = place(first);
  if (wanted.empty()) return sockets;
  std::error_code failure;
  for (fs::directory_iterator entry("/proc", failure), end;
       !failure && entry != end; entry.increment(failure)) {
    pid_t pid = std::atoi(entry->path().filename().c_str());
    if (pid <= 0 || place(pid) != wanted) continue;
    try {
      sockets.push_back(FindSocket(pid));
    } catch (const Error&) {
      // No Python, or one without an inspector: most processes are.
    }
  }
  return sockets;
}

UniqueFd ConnectTo(TargetSocket& socket) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) throw Error(std::string("socket: ") + std::strerror(errno));
  // Where too many wait already, connect() would wait for ever
  // (net/unix/af_unix.c, unix_stream_connect).
  timeval at_most = {kConnectTimeoutS, 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &at_most, sizeof at_most);
  bool as_other = geteuid() == 0 && socket.uid != 0;
  int failure =
      as_other ? ConnectAs(socket.uid, socket.gid, fd.get(), socket.entry.get())
               : ConnectByEntry(fd.get(), socket.entry.get());
  std::string name = socket.path.string();
  if (failure == ECONNREFUSED) {
    throw Error("socket " + name +
                " is stale: the process that made it has ended; remove the "
                "file");
  }
  if (failure == EACCES || failure == EPERM) {
    throw Error("socket " + name + " belongs to another user (uid " +
                std::to_string(socket.uid) +
                "): run cyclescope as that user or as root");
  }
  if (failure == EAGAIN) {
    throw Error("socket " + name +
                " takes no more requests: many wait there already, its process "
                "is stopped or paused; have it continue");
  }
  if (failure != 0)
    throw Error("socket " + name + ": connect: " + std::strerror(failure));
  ucred peer = {};
  socklen_t size = sizeof(peer);
  if (getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    throw Error(name + ": SO_PEERCRED: " + std::strerror(errno));
  // Peers are believed only if they run as us, or if we are root.
  if (geteuid() != 0 && peer.uid != geteuid()) {
    throw Error(name + ": the socket belongs to another user (uid " +
                std::to_string(peer.uid) +
                "): run cyclescope as that user or as root");
  }
  // 0: the peer lives in a pid namespace that we cannot see.
  if (socket.pid == 0) socket.pid = peer.pid;
  if (peer.pid != 0 && peer.pid != socket.pid) {
    throw Error("socket " + name + " is answered by process " +
                std::to_string(peer.pid) + ", not by " +
                std::to_string(socket.pid) +
                ": the file was left behind by an earlier process or taken "
                "over by a fork");
  }
  return fd;
}

}  // namespace injector
