#pragma once

#include <chrono>
#include <memory>
#include <string>

namespace collector {

/// How one inspector is reached. Safe to use from several threads; nothing is
/// shared between requests.
class Channel {
 public:
  virtual ~Channel() = default;

  /// Sends one line (without its newline) and returns the line that comes back.
  /// What the inspector writes to the descriptor that goes with the request
  /// ends up in `output`; -1: no descriptor goes. Throws Error: not reachable,
  /// no answer within `timeout`, an answer without end.
  virtual std::string Ask(const std::string& request, int output,
                          std::chrono::milliseconds timeout) = 0;
  /// What messages call it: the path of the socket, or the command.
  virtual std::string name() const = 0;
  /// The process, as this machine sees it; 0 if it cannot. Known once something
  /// was asked.
  virtual int pid() const = 0;

 protected:
  /// A report of a large heap has some megabytes; more than this is none.
  static constexpr size_t kLongestReply = 256u << 20;
};

/// Waits until `fd` is ready for `events` (poll) or the deadline has passed,
/// which gives false.
bool WaitFor(int fd, short events,
             std::chrono::steady_clock::time_point deadline);

/// The socket of process `pid`, which is looked for anew at each request: it
/// goes and comes when the process forks.
std::unique_ptr<Channel> SocketOf(int pid);
/// The socket at `path`.
std::unique_ptr<Channel> SocketAt(const std::string& path);

}  // namespace collector
