#include "inspector/agent/relay/agents.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace relay {

namespace {

std::string ReadFile(const std::string& path) {
  std::string text;
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  char bytes[4096];
  for (ssize_t got; (got = read(fd, bytes, sizeof bytes)) > 0;)
    text.append(bytes, static_cast<size_t>(got));
  close(fd);
  return text;
}

std::vector<std::string> Entries(const std::string& folder) {
  std::vector<std::string> names;
  DIR* directory = opendir(folder.c_str());
  if (directory == nullptr) return names;
  while (const dirent* entry = readdir(directory))
    names.emplace_back(entry->d_name);
  closedir(directory);
  return names;
}

void Add(std::vector<std::string>& folders, const std::string& folder) {
  if (folder.empty() || folder[0] != '/') return;
  if (std::find(folders.begin(), folders.end(), folder) == folders.end())
    folders.push_back(folder);
}

constexpr char kVariable[] = "CYCLESCOPE_DIR";

/// The service may have set it in a start-up script, which what is started
/// beside it does not inherit.
std::vector<std::string> OtherFolders() {
  std::vector<std::string> folders;
  std::string prefix = std::string(1, '\0') + kVariable + "=";
  for (const std::string& name : Entries("/proc")) {
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::string block = '\0' + ReadFile("/proc/" + name + "/environ");
    size_t found = block.find(prefix);
    if (found == std::string::npos) continue;
    Add(folders, block.c_str() + found + prefix.size());
  }
  for (const char* usual : {"/run", "/tmp", "/dev/shm"}) Add(folders, usual);
  return folders;
}

/// The first number in `cyclescope-7.sock` and `cyclescope-7-4026532561.sock`
/// (inspector/agent/listener.h); 0 if the name is another one.
int PidOf(const std::string& name) {
  for (const char* form :
       {"cyclescope-%9d.sock%n", "cyclescope-%9d-%*u.sock%n"}) {
    int pid = 0;
    int length = 0;
    if (std::sscanf(name.c_str(), form, &pid, &length) == 1 &&
        static_cast<size_t>(length) == name.size())
      return pid;
  }
  return 0;
}

}  // namespace

int ConnectTo(const std::string& path, int pid) {
  // By the open entry itself: what is checked is what is connected to.
  int entry = open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (entry < 0) return errno == EACCES ? kClosed : kNone;
  struct stat status = {};
  int fd = kNone;
  if (fstat(entry, &status) == 0 && S_ISSOCK(status.st_mode))
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd >= 0) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d",
                  entry);
    ucred peer = {};
    socklen_t size = sizeof peer;
    int problem = 0;
    if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      problem = errno == EACCES ? kClosed : kNone;
    else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
             peer.pid != pid)
      problem = kNone;
    else if (geteuid() != 0 && peer.uid != geteuid())
      problem = kClosed;
    if (problem != 0) {
      close(fd);
      fd = problem;
    }
  }
  close(entry);
  return fd;
}

namespace {

void FindIn(const std::string& folder, int wanted, std::vector<Agent>* agents,
            int* closed) {
  for (const std::string& name : Entries(folder)) {
    int pid = PidOf(name);
    if (pid == 0 || (wanted != 0 && pid != wanted)) continue;
    std::string path = folder + "/" + name;
    int fd = ConnectTo(path, pid);
    if (fd < 0) {
      if (fd == kClosed) ++*closed;
      continue;
    }
    close(fd);
    std::string comm = ReadFile("/proc/" + std::to_string(pid) + "/comm");
    if (!comm.empty() && comm.back() == '\n') comm.pop_back();
    // A name may hold line ends, too, which part the list (frames.h).
    std::replace(comm.begin(), comm.end(), '\n', '?');
    agents->push_back({pid, comm, path});
  }
}

}  // namespace

std::vector<Agent> FindAgents(int* closed, int pid) {
  std::vector<Agent> agents;
  *closed = 0;
  const char* own = getenv(kVariable);
  if (own != nullptr && *own != '\0') FindIn(own, pid, &agents, closed);
  if (agents.empty()) {
    for (const std::string& folder : OtherFolders())
      FindIn(folder, pid, &agents, closed);
  }
  std::sort(agents.begin(), agents.end(),
            [](const Agent& a, const Agent& b) { return a.pid < b.pid; });
  // Two folders may be one.
  agents.erase(std::unique(agents.begin(), agents.end(),
                           [](const Agent& a, const Agent& b) {
                             return a.pid == b.pid;
                           }),
               agents.end());
  return agents;
}

}  // namespace relay
