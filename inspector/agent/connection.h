#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace inspector {

/// Owns one descriptor.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept
      : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor() { Close(); }
  void Close();
  int number() const { return number_; }
  bool open() const { return number_ >= 0; }

 private:
  int number_ = -1;
};

/// The agent's socket, mode 0600 from its first moment. Throws
/// std::runtime_error with a sentence that names the path.
Descriptor Listen(const std::string& path);

/// One client: same user as the process, or root. Reads requests line by line,
/// without blocking; takes one descriptor that comes along.
class Connection {
 public:
  explicit Connection(Descriptor socket) : socket_(std::move(socket)) {}
  int number() const { return socket_.number(); }

  /// SO_PEERCRED, seen from this process's user namespace.
  bool PeerIsAllowed() const;
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
  bool ended() const { return ended_; }
  bool has_output() const { return sent_ < output_.size(); }

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
