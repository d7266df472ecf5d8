#include "inspector/agent/relay/install.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>

namespace relay {

namespace {

/// 0, or errno of what could not be done.
int CopyBytes(int from, int to) {
  static char bytes[64 << 10];
  for (;;) {
    ssize_t got = read(from, bytes, sizeof bytes);
    if (got < 0) return errno;
    if (got == 0) return 0;
    for (ssize_t done = 0; done < got;) {
      ssize_t put = write(to, bytes + done, static_cast<size_t>(got - done));
      if (put < 0) return errno;
      done += put;
    }
  }
}

int CopyFile(const std::string& from, const std::string& to) {
  int in = open(from.c_str(), O_RDONLY | O_CLOEXEC);
  if (in < 0) return errno;
  struct stat status = {};
  if (fstat(in, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(in);
    return 0;  // A folder, such as __pycache__: not ours to bring.
  }
  std::string part = to + ".part";
  unlink(part.c_str());
  int out = open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  int failure = out < 0 ? errno : CopyBytes(in, out);
  close(in);
  if (out < 0) return failure;
  // The service may run as any user.
  mode_t mode = (status.st_mode & 0111) != 0 ? 0555 : 0444;
  if (failure == 0 && fchmod(out, mode) != 0) failure = errno;
  if (close(out) != 0 && failure == 0) failure = errno;
  if (failure == 0 && rename(part.c_str(), to.c_str()) != 0) failure = errno;
  if (failure != 0) unlink(part.c_str());
  return failure;
}

}  // namespace

std::string OwnFolder() {
  char path[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  std::string own(path, length > 0 ? static_cast<size_t>(length) : 0);
  return own.substr(0, own.rfind('/'));
}

std::string Install(const std::string& folder) {
  std::string own = OwnFolder();
  if (mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST)
    return "the folder " + folder + " cannot be made: " + strerror(errno) +
           "; mount a volume there that this user may write to";
  DIR* directory = opendir(own.c_str());
  if (directory == nullptr)
    return "the folder " + own + " cannot be read: " + strerror(errno);
  std::string problem;
  while (const dirent* entry = readdir(directory)) {
    std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    int failure = CopyFile(own + "/" + name, folder + "/" + name);
    if (failure == 0) continue;
    problem = own + "/" + name + " cannot be copied to " + folder + ": " +
              strerror(failure) +
              "; mount a volume there that this user may write to and that has "
              "10 MB free";
    break;
  }
  closedir(directory);
  return problem;
}

}  // namespace relay
