#include "collector/store/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "collector/error.h"

namespace collector {
namespace {

/// Owns one descriptor.
class File {
 public:
  File(const std::filesystem::path& path, int flags)
      : descriptor_(open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  int get() const { return descriptor_; }
  bool is_open() const { return descriptor_ >= 0; }

 private:
  int descriptor_;
};

/// What to do about `error`, as the end of a message.
std::string RemedyFor(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return "free space there or choose another folder";
    case EACCES:
    case EPERM:
    case EROFS:
      return "choose a folder that you may write to";
    default:
      return "check the disk and the folder";
  }
}

[[noreturn]] void ThrowWriteError(const std::filesystem::path& path) {
  int error = errno;
  throw Error(fmt::format("cannot write {}: {}; {}", path.string(),
                          std::strerror(error), RemedyFor(error)));
}

void WriteAll(int descriptor, std::string_view bytes,
              const std::filesystem::path& path) {
  while (!bytes.empty()) {
    ssize_t written = write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) ThrowWriteError(path);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

/// Removes a file that did not become whole.
class Temporary {
 public:
  explicit Temporary(std::filesystem::path path) : path_(std::move(path)) {}
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  ~Temporary() {
    if (!path_.empty()) unlink(path_.c_str());
  }
  const std::filesystem::path& path() const { return path_; }
  void Keep() { path_.clear(); }

 private:
  std::filesystem::path path_;
};

}  // namespace

void WriteFileWhole(const std::filesystem::path& path, std::string_view bytes) {
  Temporary temporary(path.parent_path() /
                      ("." + path.filename().string() + ".part"));
  {
    File file(temporary.path(), O_WRONLY | O_CREAT | O_TRUNC);
    if (!file.is_open()) ThrowWriteError(path);
    WriteAll(file.get(), bytes, path);
    if (fsync(file.get()) != 0) ThrowWriteError(path);
  }
  if (rename(temporary.path().c_str(), path.c_str()) != 0)
    ThrowWriteError(path);
  temporary.Keep();
  File folder(path.parent_path(), O_RDONLY | O_DIRECTORY);
  if (!folder.is_open() || fsync(folder.get()) != 0) ThrowWriteError(path);
}

std::string ReadFileWhole(const std::filesystem::path& path) {
  auto fail = [&path] {
    throw Error(fmt::format("cannot read {}: {}; check the path and its rights",
                            path.string(), std::strerror(errno)));
  };
  File file(path, O_RDONLY);
  if (!file.is_open()) fail();
  std::string bytes;
  char buffer[1 << 16];
  for (;;) {
    ssize_t got = read(file.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail();
    if (got == 0) return bytes;
    bytes.append(buffer, static_cast<size_t>(got));
  }
}

}  // namespace collector
