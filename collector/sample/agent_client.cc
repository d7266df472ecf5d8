#include "collector/sample/agent_client.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "collector/error.h"
#include "injector/target_socket.h"

namespace collector {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

/// A report of a large heap has some megabytes; more than this is not one.
constexpr size_t kLongestReply = 256u << 20;
constexpr milliseconds kShortTimeout{10'000};

std::string Reason() { return std::strerror(errno); }

/// Waits until `fd` is ready for `events` or the deadline has passed.
bool WaitFor(int fd, short events, steady_clock::time_point deadline) {
  while (true) {
    auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
    pollfd entry = {fd, events, 0};
    int ready = poll(&entry, 1, std::max<int64_t>(left.count(), 0));
    if (ready > 0) return true;
    if (ready == 0) return false;
    if (errno != EINTR) throw Error("poll: " + Reason());
  }
}

/// sockaddr_un holds 107 characters; a longer path goes by its open folder.
sockaddr_un Address(const fs::path& path, UniqueFd& folder) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::string name = path.string();
  if (name.size() >= sizeof(address.sun_path)) {
    folder = UniqueFd(
        open(path.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    name = fmt::format("/proc/self/fd/{}/{}", folder.get(),
                       path.filename().string());
  }
  if (name.size() >= sizeof(address.sun_path)) {
    throw Error(fmt::format("socket {}: the file name is too long for a socket",
                            path.string()));
  }
  std::memcpy(address.sun_path, name.c_str(), name.size() + 1);
  return address;
}

void SendAll(int fd, const std::string& text, int pass_fd,
             steady_clock::time_point deadline, const fs::path& socket) {
  size_t sent = 0;
  while (sent < text.size()) {
    if (!WaitFor(fd, POLLOUT, deadline)) {
      throw Error(fmt::format("{}: the inspector does not read the request",
                              socket.string()));
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
                      socket.string(), Reason()));
    }
    if (written > 0) sent += static_cast<size_t>(written);
  }
}

std::string ReceiveLine(int fd, steady_clock::time_point deadline,
                        milliseconds timeout, const fs::path& socket) {
  std::string line;
  std::vector<char> buffer(64 << 10);
  while (true) {
    if (!WaitFor(fd, POLLIN, deadline)) {
      throw Error(fmt::format(
          "{}: the inspector has not answered within {:.0f} s; its process may "
          "be stopped or hold the interpreter lock in native code",
          socket.string(), timeout.count() / 1000.0));
    }
    ssize_t got = recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got <= 0) {
      throw Error(fmt::format(
          "{}: the connection ended before the answer was complete; the "
          "process has ended or is ending",
          socket.string()));
    }
    const char* begin = buffer.data();
    const char* newline = std::find(begin, begin + got, '\n');
    line.append(begin, newline);
    if (newline != begin + got) return line;
    if (line.size() > kLongestReply) {
      throw Error(fmt::format(
          "{}: the answer is longer than {} MiB; what listens there is no "
          "inspector of this version",
          socket.string(), kLongestReply >> 20));
    }
  }
}

/// Peers are believed only if they run as us, or if we are root.
ucred CheckedPeer(int fd, const fs::path& socket) {
  ucred peer = {};
  socklen_t size = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    throw Error(fmt::format("{}: SO_PEERCRED: {}", socket.string(), Reason()));
  }
  if (geteuid() != 0 && peer.uid != geteuid()) {
    throw Error(fmt::format(
        "{}: the socket belongs to another user (uid {}): run cyclescope as "
        "that user or as root",
        socket.string(), peer.uid));
  }
  return peer;
}

}  // namespace

AgentClient AgentClient::Connect(const std::string& target) {
  int pid = 0;
  const char* end = target.data() + target.size();
  auto parsed = std::from_chars(target.data(), end, pid);
  bool is_pid = parsed.ec == std::errc() && parsed.ptr == end;
  if (!is_pid && target.find('/') == std::string::npos && !fs::exists(target)) {
    throw Error(fmt::format(
        "target '{}': neither a pid nor the path of a socket; give the pid of "
        "a Python started with `cyclescope run -- CMD`",
        target));
  }
  AgentClient client = is_pid ? AgentClient(injector::FindSocket(pid).path, pid)
                              : AgentClient(target, std::nullopt);
  client.Ping();
  return client;
}

AgentClient::AgentClient(fs::path socket, std::optional<int> pid)
    : socket_(std::move(socket)), pid_(pid.value_or(0)) {}

UniqueFd AgentClient::Open() const {
  struct stat entry {};
  if (stat(socket_.c_str(), &entry) != 0) {
    throw Error(fmt::format(
        "socket {}: {}; look whether the process still runs and was started "
        "with `cyclescope run -- CMD`",
        socket_.string(), Reason()));
  }
  if (!S_ISSOCK(entry.st_mode)) {
    throw Error(fmt::format(
        "{} is not a socket: give a pid or the socket of an inspector",
        socket_.string()));
  }
  UniqueFd folder;
  sockaddr_un address = Address(socket_, folder);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) throw Error("socket: " + Reason());
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address),
              sizeof(address)) != 0) {
    if (errno == ECONNREFUSED) {
      throw Error(fmt::format(
          "socket {} is stale: the process that made it has ended; remove the "
          "file",
          socket_.string()));
    }
    if (errno == EACCES || errno == EPERM) {
      throw Error(fmt::format(
          "socket {} belongs to another user (uid {}): run cyclescope as that "
          "user or as root",
          socket_.string(), entry.st_uid));
    }
    throw Error(
        fmt::format("socket {}: connect: {}", socket_.string(), Reason()));
  }
  ucred peer = CheckedPeer(fd.get(), socket_);
  // 0: the peer lives in a pid namespace that we cannot see.
  if (pid_ == 0) pid_ = peer.pid;
  if (peer.pid != 0 && peer.pid != pid_) {
    throw Error(fmt::format(
        "socket {} is answered by process {}, not by {}: the file was left "
        "behind by an earlier process or taken over by a fork",
        socket_.string(), peer.pid, pid_));
  }
  return fd;
}

std::string AgentClient::Ask(const nlohmann::json& request, int pass_fd,
                             milliseconds timeout) const {
  auto deadline = steady_clock::now() + timeout;
  UniqueFd fd = Open();
  SendAll(fd.get(), request.dump() + "\n", pass_fd, deadline, socket_);
  return ReceiveLine(fd.get(), deadline, timeout, socket_);
}

namespace {

/// The reply as JSON; a refusal or anything but an object throws.
nlohmann::json Parsed(const std::string& reply, const fs::path& socket,
                      const std::string& request) {
  nlohmann::json json = nlohmann::json::parse(reply, nullptr, false);
  if (!json.is_object()) {
    throw Error(fmt::format(
        "{}: the answer to `{}` is not a JSON object but '{}…'; what listens "
        "there is no inspector",
        socket.string(), request, reply.substr(0, 40)));
  }
  if (json.contains("error")) {
    const nlohmann::json& reason = json["error"];
    throw Error(fmt::format(
        "the inspector did not do `{}`: {}", request,
        reason.is_string() ? reason.get<std::string>() : reason.dump()));
  }
  return json;
}

}  // namespace

nlohmann::json AgentClient::AskJson(const char* request) const {
  return Parsed(Ask({{"request", request}}, -1, kShortTimeout), socket_,
                request);
}

nlohmann::json AgentClient::Ping() const {
  nlohmann::json reply = AskJson("ping");
  if (reply.value("pong", false) != true) {
    throw Error(fmt::format(
        "{}: the answer to `ping` is '{}'; what listens there is no inspector",
        socket_.string(), reply.dump().substr(0, 60)));
  }
  return reply;
}

std::string AgentClient::Snapshot(const SnapshotRequest& request) const {
  nlohmann::json json = {{"request", "snapshot"}};
  if (!request.watch.empty()) json["watch"] = request.watch;
  if (request.ids_fd >= 0) json["ids"] = true;
  if (request.heap_fd >= 0) json["heap"] = true;
  std::string reply =
      Ask(json, request.ids_fd >= 0 ? request.ids_fd : request.heap_fd,
          request.timeout);
  nlohmann::json report = Parsed(reply, socket_, "snapshot");
  if (report.value("schema", "") != "cyclescope.snapshot/1") {
    throw Error(fmt::format(
        "{}: the snapshot has the schema '{}', this program reads "
        "cyclescope.snapshot/1; use the inspector that came with it",
        socket_.string(), report.value("schema", "")));
  }
  return reply;
}

nlohmann::json AgentClient::Sample() const { return AskJson("sample"); }

nlohmann::json AgentClient::GcStats() const { return AskJson("gc_stats"); }

nlohmann::json AgentClient::Settings() const { return AskJson("settings"); }

}  // namespace collector
