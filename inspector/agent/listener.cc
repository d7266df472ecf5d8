#include "inspector/agent/listener.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace inspector {
namespace {

constexpr char kPrefix[] = "cyclescope-";
constexpr char kSuffix[] = ".sock";

/// Between agents that look whether a name is stale and take it: without it,
/// one could remove what the other has just made. Held for a few system calls.
class DirectoryLock {
 public:
  explicit DirectoryLock(const std::string& directory)
      : directory_(Descriptor::AboveStandard(
            open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC))) {
    constexpr int kMostTries = 20;
    timespec pause = {0, 1'000'000};
    for (int i = 0; directory_.open() && i < kMostTries && !held_; ++i) {
      if (i > 0) nanosleep(&pause, nullptr);
      held_ = flock(directory_.number(), LOCK_EX | LOCK_NB) == 0;
    }
  }
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;
  ~DirectoryLock() {
    if (held_) flock(directory_.number(), LOCK_UN);
  }
  /// False where the directory cannot be read, or somebody keeps the lock:
  /// then nothing may be removed.
  bool held() const { return held_; }
  int number() const { return directory_.number(); }

 private:
  Descriptor directory_;
  bool held_ = false;
};

/// Connecting tells whether anybody listens: on this machine, so not where the
/// directory is shared with others.
bool IsOfThisMachine(int directory) {
  struct statfs system = {};
  if (fstatfs(directory, &system) != 0) return false;
  switch (static_cast<uint32_t>(system.f_type)) {
    case 0x01021994:  // tmpfs
    case 0x858458f6:  // ramfs
    case 0x794c7630:  // overlayfs
    case 0x0000ef53:  // ext2, 3, 4
    case 0x58465342:  // XFS
    case 0x9123683e:  // Btrfs
    case 0xf2f52010:  // F2FS
    case 0x2fc12fc1:  // ZFS
      return true;
    default:  // Those of a network, and what is not known.
      return false;
  }
}

std::optional<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return std::nullopt;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

Descriptor NewSocket(int type) {
  return Descriptor::AboveStandard(
      socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

bool IsRefused(int type, const sockaddr_un& address) {
  Descriptor probe = NewSocket(type);
  return probe.open() &&
         connect(probe.number(), reinterpret_cast<const sockaddr*>(&address),
                 sizeof address) != 0 &&
         errno == ECONNREFUSED;
}

/// A socket of this user's that nobody listens at. With the lock.
bool IsStale(const std::string& path, const DirectoryLock& lock) {
  struct stat entry = {};
  if (!lock.held() || !IsOfThisMachine(lock.number()) ||
      lstat(path.c_str(), &entry) != 0 || !S_ISSOCK(entry.st_mode) ||
      (entry.st_uid != geteuid() && geteuid() != 0))
    return false;
  std::optional<sockaddr_un> address = AddressOf(path);
  // A socket of the wrong type is told so by one that is bound (EPROTOTYPE) and
  // takes no place among those that wait there (net/unix/af_unix.c,
  // unix_find_bsd).
  return address && IsRefused(SOCK_DGRAM, *address) &&
         IsRefused(SOCK_STREAM, *address);
}

std::string NameIn(const std::string& directory, const std::string& middle) {
  return directory + "/" + kPrefix + middle + kSuffix;
}

/// "4026531836", as in the link's "pid:[4026531836]"; empty if it cannot be
/// read.
std::string PidNamespace() {
  char text[64];
  ssize_t size = readlink("/proc/self/ns/pid", text, sizeof text);
  std::string_view link(text, size < 0 ? 0 : static_cast<size_t>(size));
  size_t begin = link.find('[');
  if (begin == link.npos || !link.ends_with(']')) return {};
  return std::string(link.substr(begin + 1, link.size() - begin - 2));
}

std::runtime_error CannotBeMade(const std::string& path,
                                const std::string& why) {
  return std::runtime_error("the socket " + path + " cannot be made: " + why);
}

/// Binds the socket there and has it listen; false if the name is taken.
bool BindAt(const Descriptor& socket, const std::string& path,
            const DirectoryLock& lock) {
  std::optional<sockaddr_un> address = AddressOf(path);
  if (!address)
    throw CannotBeMade(path, "the path is longer than a socket's may be (" +
                                 std::to_string(sizeof address->sun_path - 1) +
                                 " bytes); name a shorter CYCLESCOPE_DIR");
  if (IsStale(path, lock)) unlink(path.c_str());
  fchmod(socket.number(), 0600);  // bind() gives the file the socket's mode.
  if (bind(socket.number(), reinterpret_cast<sockaddr*>(&*address),
           sizeof *address) != 0) {
    if (errno == EADDRINUSE) return false;
    throw CannotBeMade(path, std::strerror(errno));
  }
  // The umask may have taken more away. Never through a link.
  struct stat entry = {};
  if (lstat(path.c_str(), &entry) == 0 && (entry.st_mode & 0777) != 0600)
    fchmodat(AT_FDCWD, path.c_str(), 0600, AT_SYMLINK_NOFOLLOW);
  constexpr int kMostWaiting = 128;
  if (listen(socket.number(), kMostWaiting) != 0) {
    int error = errno;
    unlink(path.c_str());
    throw CannotBeMade(path, std::strerror(error));
  }
  return true;
}

/// A volume that was mounted for this container: whoever sees it may use it.
/// Kubernetes makes an emptyDir with mode 0777, and a folder of the machine may
/// belong to any user of it.
bool IsMountPoint(const std::string& directory, const struct stat& entry) {
  struct stat above = {};
  return stat((directory + "/..").c_str(), &above) == 0 &&
         (above.st_dev != entry.st_dev || above.st_ino == entry.st_ino);
}

}  // namespace

std::string ObjectionTo(const std::string& directory) {
  struct stat entry = {};
  if (stat(directory.c_str(), &entry) != 0 ||
      access(directory.c_str(), W_OK | X_OK) != 0)
    return "cannot be written; name another directory";
  if (!S_ISDIR(entry.st_mode)) return "is no directory; name one";
  if ((entry.st_mode & S_ISVTX) != 0) return {};  // As /tmp is.
  if (IsMountPoint(directory, entry)) return {};
  if (entry.st_uid != 0 && entry.st_uid != geteuid())
    return "belongs to uid " + std::to_string(entry.st_uid) +
           ", who could put another socket in place of this one; name a "
           "directory of root's or of uid " +
           std::to_string(geteuid());
  if ((entry.st_mode & S_IWOTH) != 0)
    return "may be written by everybody, who could put another socket in "
           "place of this one; chmod +t it, or name another directory";
  return {};
}

Listener::Listener(const std::string& directory, int pid) {
  std::string name = NameIn(directory, std::to_string(pid));
  socket_ = NewSocket(SOCK_STREAM);
  if (!socket_.open()) throw CannotBeMade(name, std::strerror(errno));
  DirectoryLock lock(directory);
  path_ = name;
  if (!BindAt(socket_, path_, lock)) {
    path_ = NameIn(directory, std::to_string(pid) + "-" + PidNamespace());
    if (!BindAt(socket_, path_, lock))
      throw CannotBeMade(
          name, "something else is there, and at " + path_ +
                    "; see what it is, or name another CYCLESCOPE_DIR");
  }
  id_ = FileId::Of(socket_.number());
  struct stat entry = {};
  if (lstat(path_.c_str(), &entry) == 0) entry_ = FileId(entry);
}

void Listener::Remove() {
  struct stat entry = {};
  if (!path_.empty() && lstat(path_.c_str(), &entry) == 0 &&
      entry_ == FileId(entry))
    unlink(path_.c_str());
  path_.clear();
  Close();
}

void RemoveStaleSockets(const std::string& directory) {
  std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(directory.c_str()),
                                              closedir);
  std::vector<std::string> paths;
  while (const dirent* entry = entries ? readdir(entries.get()) : nullptr) {
    std::string_view name = entry->d_name;
    if (name.starts_with(kPrefix) && name.ends_with(kSuffix))
      paths.push_back(directory + "/" + std::string(name));
  }
  if (paths.empty()) return;
  DirectoryLock lock(directory);
  for (const std::string& path : paths)
    if (IsStale(path, lock)) unlink(path.c_str());
}

}  // namespace inspector
