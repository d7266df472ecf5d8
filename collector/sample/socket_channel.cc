#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <vector>

#include "collector/error.h"
#include "collector/sample/channel.h"
#include "injector/target_socket.h"

namespace collector {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

bool WaitFor(int fd, short events, steady_clock::time_point deadline) {
  while (true) {
    auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
    // Also where more is always there: what comes without end is no answer.
    if (left.count() <= 0) return false;
    pollfd entry = {fd, events, 0};
    int ready = poll(&entry, 1, static_cast<int>(left.count()));
    if (ready > 0) return true;
    if (ready == 0) return false;
    if (errno != EINTR) {
      throw Error(fmt::format("poll: {}", std::strerror(errno)));
    }
  }
}

namespace {

class SocketChannel : public Channel {
 public:
  SocketChannel(int pid, std::string path)
      : wanted_(pid), path_(std::move(path)), pid_(pid) {}

  std::string Ask(const std::string& request, int output,
                  milliseconds timeout) override {
    auto deadline = steady_clock::now() + timeout;
    injector::TargetSocket socket = wanted_ != 0 ? injector::FindSocket(wanted_)
                                                 : injector::OpenSocket(path_);
    socket.pid = pid_;
    std::string name = socket.path.string();
    injector::UniqueFd fd = injector::ConnectTo(socket);
    pid_ = socket.pid;
    Send(fd.get(), request + "\n", output, deadline, name);
    return Receive(fd.get(), deadline, timeout, name);
  }
  std::string name() const override {
    return wanted_ != 0 ? fmt::format("process {}", wanted_) : path_;
  }
  int pid() const override { return pid_; }

 private:
  static void Send(int fd, const std::string& text, int pass_fd,
                   steady_clock::time_point deadline, const std::string& name);
  static std::string Receive(int fd, steady_clock::time_point deadline,
                             milliseconds timeout, const std::string& name);

  int wanted_;
  std::string path_;
  std::atomic<int> pid_;
};

void SocketChannel::Send(int fd, const std::string& text, int pass_fd,
                         steady_clock::time_point deadline,
                         const std::string& name) {
  size_t sent = 0;
  while (sent < text.size()) {
    if (!WaitFor(fd, POLLOUT, deadline)) {
      throw NoAnswerInTime(
          fmt::format("{}: the inspector does not read the request", name));
    }
    iovec part = {const_cast<char*>(text.data()) + sent, text.size() - sent};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    if (pass_fd >= 0 && sent == 0) {
      message.msg_control = control;
      message.msg_controllen = sizeof(control);
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(header), &pass_fd, sizeof(int));
    }
    ssize_t written = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (written < 0 && errno != EAGAIN && errno != EINTR) {
      throw Error(
          fmt::format("{}: the request could not be sent: {}; look "
                      "whether the process still runs",
                      name, std::strerror(errno)));
    }
    if (written > 0) sent += static_cast<size_t>(written);
  }
}

std::string SocketChannel::Receive(int fd, steady_clock::time_point deadline,
                                   milliseconds timeout,
                                   const std::string& name) {
  std::string line;
  std::vector<char> buffer(64 << 10);
  while (true) {
    if (!WaitFor(fd, POLLIN, deadline)) {
      throw NoAnswerInTime(fmt::format(
          "{}: the inspector has not answered within {:.0f} s; its process may "
          "be stopped or hold the interpreter lock in native code",
          name, timeout.count() / 1000.0));
    }
    ssize_t got = recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got <= 0) {
      throw Error(fmt::format(
          "{}: the connection ended before the answer was complete; the "
          "process has ended or is ending",
          name));
    }
    const char* begin = buffer.data();
    const char* newline = std::find(begin, begin + got, '\n');
    line.append(begin, newline);
    if (newline != begin + got) return line;
    if (line.size() > kLongestReply) {
      throw Error(fmt::format(
          "{}: the answer is longer than {} MiB; what listens there is no "
          "inspector of this version",
          name, kLongestReply >> 20));
    }
  }
}

}  // namespace

std::unique_ptr<Channel> SocketOf(int pid) {
  return std::make_unique<SocketChannel>(pid, "");
}

std::unique_ptr<Channel> SocketAt(const std::string& path) {
  return std::make_unique<SocketChannel>(0, path);
}

}  // namespace collector
