#include "inspector/agent/connection.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "inspector/agent/child.h"

namespace inspector {
namespace {

constexpr size_t kLongestRequest = 1 << 16;
constexpr int64_t kSendTimeoutUs = 5'000'000;

}  // namespace

void Descriptor::Close() {
  if (number_ >= 0) close(number_);
  number_ = -1;
}

Descriptor Listen(const std::string& path) {
  auto fail = [&path](const std::string& why) {
    return std::runtime_error("the socket " + path + " cannot be made: " + why);
  };
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    throw fail("the path is longer than a socket's may be (" +
               std::to_string(sizeof address.sun_path - 1) +
               " bytes); name a shorter CYCLESCOPE_DIR");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  Descriptor socket(
      ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.open()) throw fail(std::strerror(errno));
  // A process that had our pid may have left it; containers that share the
  // directory may have our pid now.
  if (connect(socket.number(), reinterpret_cast<sockaddr*>(&address),
              sizeof address) == 0 ||
      errno == EAGAIN)
    throw fail(
        "another process answers there; give each container a "
        "CYCLESCOPE_DIR of its own");
  fchmod(socket.number(), 0600);  // bind() gives the file the socket's mode.
  unlink(path.c_str());
  if (bind(socket.number(), reinterpret_cast<sockaddr*>(&address),
           sizeof address) != 0 ||
      listen(socket.number(), 16) != 0)
    throw fail(std::strerror(errno));
  chmod(path.c_str(), 0600);
  return socket;
}

bool Connection::PeerIsAllowed() const {
  ucred peer = {};
  socklen_t size = sizeof peer;
  if (getsockopt(number(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return false;
  return peer.uid == 0 || peer.uid == geteuid();
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
        Descriptor owned(received);
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
