#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <utility>

namespace inspector {

/// Owns one descriptor.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  /// Owns it under a number above those of stdin, stdout and stderr: a daemon
  /// closes these, and what it opens next must get them. Not open, with errno,
  /// if the system refuses.
  static Descriptor AboveStandard(int number);
  Descriptor(Descriptor&& other) noexcept
      : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor() { Close(); }
  void Close();
  /// Forgets it without closing: the number is not ours any more.
  void Abandon() { number_ = -1; }
  int number() const { return number_; }
  bool open() const { return number_ >= 0; }

 private:
  int number_ = -1;
};

/// Which file a descriptor or a name leads to. A program may close descriptors
/// that it does not know (daemons close all), and open its own under the same
/// numbers: before one is used we look whether it is still ours. No use with
/// eventfds and the like, which share one inode.
class FileId {
 public:
  FileId() = default;
  explicit FileId(const struct stat& file)
      : device_(file.st_dev), inode_(file.st_ino) {}
  static FileId Of(int descriptor);
  /// Also in a signal handler.
  bool IsOf(int descriptor) const { return Of(descriptor) == *this; }
  bool operator==(const FileId&) const = default;

 private:
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

/// One client: same user as the process, or root. Reads requests line by line,
/// without blocking; takes one descriptor that comes along.
class Connection {
 public:
  explicit Connection(Descriptor socket) : socket_(std::move(socket)) {}
  int number() const { return socket_.number(); }

  /// Why the peer may not ask, in a sentence; empty if it may. By SO_PEERCRED,
  /// so as this process's namespaces show it.
  std::string Refusal() const;
  enum class Input { kNothing, kLine, kEnded, kClosed };
  /// Reads what is there; kLine when `line` was filled, kEnded when no more
  /// will come, kClosed when the client is to be dropped.
  Input Read(std::string& line);
  Descriptor TakeDescriptor() { return std::move(descriptor_); }
  /// Puts a reply and its newline behind what waits to be sent.
  void Queue(const std::string& text);
  /// Sends what the socket takes now; false if the client is gone, or has read
  /// nothing for five seconds.
  bool Flush();
  /// Read would give a line at once.
  bool has_line() const { return buffer_.find('\n') != std::string::npos; }
  /// It would, or there is something to read.
  bool has_input() const;
  bool ended() const { return ended_; }
  bool has_output() const { return sent_ < output_.size(); }
  /// As Descriptor::Abandon.
  void Abandon() {
    socket_.Abandon();
    descriptor_.Abandon();
  }

 private:
  Descriptor socket_;
  Descriptor descriptor_;
  std::string buffer_;
  std::string output_;
  size_t sent_ = 0;
  bool ended_ = false;
  int64_t last_progress_us_ = 0;
};

}  // namespace inspector
