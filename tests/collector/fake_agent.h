#pragma once

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>

namespace collector {

inline constexpr char kPong[] =
    R"({"pong":true,"pid":1,"pid_in_namespace":1,"python":"3.11.2",)"
    R"("version":"0.1.0"})"
    "\n";
inline constexpr char kEmptySnapshot[] =
    R"({"schema":"cyclescope.snapshot/1","watched":[],"cycles":[]})"
    "\n";

/// Listens where an inspector would and answers each request with what
/// `answer` returns, as it is. `answer` gets the request line and the
/// descriptor passed with it (-1: none).
class FakeAgent {
 public:
  using Answer = std::function<std::string(const std::string&, int)>;

  FakeAgent(std::filesystem::path path, Answer answer)
      : path_(std::move(path)), answer_(std::move(answer)) {
    listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address),
             sizeof(address)) != 0 ||
        listen(listener_, 5) != 0) {
      throw std::runtime_error("cannot listen at " + path_.string());
    }
    thread_ = std::thread([this] { Serve(); });
  }
  ~FakeAgent() {
    stop_ = true;
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
    std::filesystem::remove(path_);
  }

 private:
  void Serve() {
    while (!stop_) {
      int connection = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (connection < 0) continue;
      int passed = -1;
      std::string line = ReadLine(connection, &passed);
      std::string answer = answer_(line, passed);
      if (passed >= 0) close(passed);
      [[maybe_unused]] ssize_t sent =
          send(connection, answer.data(), answer.size(), MSG_NOSIGNAL);
      close(connection);
    }
  }
  static std::string ReadLine(int connection, int* passed) {
    std::string line;
    while (line.empty() || line.back() != '\n') {
      char bytes[1024];
      iovec part = {bytes, sizeof(bytes)};
      alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
      msghdr message = {};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      message.msg_control = control;
      message.msg_controllen = sizeof(control);
      ssize_t got = recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
      if (got <= 0) break;
      if (cmsghdr* header = CMSG_FIRSTHDR(&message)) {
        std::memcpy(passed, CMSG_DATA(header), sizeof(int));
      }
      line.append(bytes, static_cast<size_t>(got));
    }
    return line;
  }

  std::filesystem::path path_;
  Answer answer_;
  int listener_ = -1;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

/// Pongs, and answers everything else with an empty snapshot.
inline std::string PongOrSnapshot(const std::string& request, int) {
  return request.find("ping") != std::string::npos ? kPong : kEmptySnapshot;
}

}  // namespace collector
