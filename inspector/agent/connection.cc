#include "inspector/agent/connection.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>

#include "inspector/agent/child.h"
#include "inspector/agent/proc_text.h"

namespace inspector {
namespace {

constexpr size_t kLongestRequest = 1 << 16;
constexpr int64_t kSendTimeoutUs = 5'000'000;

uid_t OverflowUid() {
  constexpr uid_t kUsual = 65534;
  std::string text = ReadFile("/proc/sys/kernel/overflowuid");
  return text.empty() ? kUsual : static_cast<uid_t>(std::stoul(text));
}

/// In a user namespace with a number for each user that there is.
bool SeesAllUsers() {
  unsigned inside = 0;
  unsigned outside = 0;
  unsigned count = 0;
  std::string map = ReadFile("/proc/self/uid_map");
  return std::sscanf(map.c_str(), "%u %u %u", &inside, &outside, &count) == 3 &&
         inside == 0 && count == std::numeric_limits<unsigned>::max();
}

}  // namespace

Descriptor Descriptor::AboveStandard(int number) {
  Descriptor descriptor(number);
  if (number < 0 || number > STDERR_FILENO) return descriptor;
  return Descriptor(fcntl(number, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}

void Descriptor::Close() {
  if (number_ >= 0) close(number_);
  number_ = -1;
}

FileId FileId::Of(int descriptor) {
  struct stat file = {};
  return fstat(descriptor, &file) == 0 ? FileId(file) : FileId();
}

std::string Connection::Refusal() const {
  ucred peer = {};
  socklen_t size = sizeof peer;
  if (getsockopt(number(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return "the system does not say who asks: " +
           std::string(std::strerror(errno));
  if (peer.uid == 0) return {};
  // A user that has no number in our user namespace is shown as the overflow
  // uid, which is ours if we run as nobody.
  bool is_unknown =
      peer.uid == OverflowUid() && peer.pid == 0 && !SeesAllUsers();
  if (peer.uid == geteuid() && !is_unknown) return {};
  return "this process answers only root and its own user, uid " +
         std::to_string(geteuid()) + ", and sees you as " +
         (is_unknown ? "a user" : "uid " + std::to_string(peer.uid)) +
         (is_unknown ? " that its user namespace does not know" : "") +
         "; ask as one of these";
}

bool Connection::has_input() const {
  int waiting = 0;
  return has_line() ||
         (ioctl(number(), FIONREAD, &waiting) == 0 && waiting > 0);
}

Connection::Input Connection::Read(std::string& line) {
  for (;;) {
    size_t end = buffer_.find('\n');
    if (end != std::string::npos) {
      line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return Input::kLine;
    }
    if (buffer_.size() > kLongestRequest) return Input::kClosed;
    char bytes[4096];
    iovec part = {bytes, sizeof bytes};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t size = recvmsg(number(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
      return Input::kNothing;
    if (size == 0) {
      ended_ = true;
      return Input::kEnded;
    }
    if (size < 0) return Input::kClosed;
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header != nullptr && header->cmsg_level == SOL_SOCKET &&
        header->cmsg_type == SCM_RIGHTS) {
      // Alignment leaves room for two; the first counts, all are ours to close.
      size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < count; ++i) {
        int received = -1;
        std::memcpy(&received, CMSG_DATA(header) + i * sizeof received,
                    sizeof received);
        Descriptor owned = Descriptor::AboveStandard(received);
        if (i == 0) descriptor_ = std::move(owned);
      }
    }
    buffer_.append(bytes, static_cast<size_t>(size));
  }
}

void Connection::Queue(const std::string& text) {
  output_.erase(0, sent_);
  sent_ = 0;
  output_ += text;
  output_ += '\n';
  last_progress_us_ = MonotonicMicroseconds();
}

bool Connection::Flush() {
  while (has_output()) {
    ssize_t size = send(number(), output_.data() + sent_,
                        output_.size() - sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) {
      if (errno != EAGAIN && errno != EWOULDBLOCK) return false;
      return MonotonicMicroseconds() - last_progress_us_ < kSendTimeoutUs;
    }
    sent_ += static_cast<size_t>(size);
    last_progress_us_ = MonotonicMicroseconds();
  }
  output_ = {};  // A report is large; its memory goes back at once.
  sent_ = 0;
  return true;
}

}  // namespace inspector
