#include "collector/sample/relay_channel.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <sstream>

#include "collector/error.h"
#include "collector/sample/child_process.h"
#include "collector/sample/unique_fd.h"
#include "inspector/agent/relay/frames.h"

namespace collector {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

/// To start a command in a container on a busy machine takes seconds, through
/// ssh and an API server some more.
constexpr milliseconds kStartTimeout{30'000};

/// What a command prints before the relay greets: a banner, or an error.
constexpr size_t kLongestBanner = 16 << 10;

std::string Line(const RelayPlace& place) {
  return place.command.find(injector::kRelayProgram) != std::string::npos
             ? place.command
             : place.command + " " +
                   QuotedForShell(place.folder + "/" + injector::kRelayProgram);
}

/// One relay, running.
class RelayProcess {
 public:
  explicit RelayProcess(const RelayPlace& place);
  ~RelayProcess();
  RelayProcess(const RelayProcess&) = delete;

  void Send(relay::Kind kind, const std::string& payload,
            steady_clock::time_point deadline);
  /// One frame. `what` is waited for, in words.
  relay::Kind Receive(std::string& payload, steady_clock::time_point deadline,
                      const std::string& what);

  /// Between requests nothing comes; what does is the end of the command.
  bool IsQuiet() const {
    pollfd entry = {stream_.get(), POLLIN, 0};
    return poll(&entry, 1, 0) == 0;
  }

 private:
  void Greet();
  /// More input, or an error that tells why there is none.
  void Read(steady_clock::time_point deadline, const std::string& what);
  [[noreturn]] void ThrowEnded(const std::string& what);

  RelayPlace place_;
  UniqueFd errors_;  // What it says on stderr, in memory.
  UniqueFd stream_;  // Its stdin and stdout.
  std::unique_ptr<ChildProcess> process_;
  std::string buffer_;
};

RelayProcess::RelayProcess(const RelayPlace& place) : place_(place) {
  errors_ = UniqueFd(memfd_create("cyclescope-relay", MFD_CLOEXEC));
  int ends[2];
  if (!errors_ ||
      socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    throw Error(fmt::format("socketpair: {}", std::strerror(errno)));
  }
  stream_ = UniqueFd(ends[0]);
  UniqueFd theirs(ends[1]);
  Command command;
  command.arguments = {"/bin/sh", "-c", Line(place)};
  command.output = fmt::format("/proc/self/fd/{}", errors_.get());
  command.stream = theirs.get();
  process_ = std::make_unique<ChildProcess>(command);
  theirs = UniqueFd();  // Theirs alone: so that its end is seen.
  Greet();
}

RelayProcess::~RelayProcess() {
  stream_ = UniqueFd();  // Ends the relay, and the command with it.
  if (process_) process_->Wait(milliseconds(2000));
}

void RelayProcess::ThrowEnded(const std::string& what) {
  process_->Wait(milliseconds(1000));
  std::string ending = process_->ending();
  std::string said = OneLine(buffer_ + " " + process_->OutputTail());
  throw Error(fmt::format(
      "{}: the command ended {} ({}){}; run it in a shell to see why, "
      "or look whether the container still runs and has the inspector's folder",
      place_.name, what, ending.empty() ? "its output is closed" : ending,
      said.empty() ? "" : ": " + said));
}

void RelayProcess::Read(steady_clock::time_point deadline,
                        const std::string& what) {
  if (!WaitFor(stream_.get(), POLLIN, deadline)) {
    throw NoAnswerInTime(fmt::format(
        "{}: nothing came while {} was waited for; the command may wait "
        "for input, or the process be stopped or hold the interpreter lock in "
        "native code",
        place_.name, what));
  }
  char bytes[relay::kLargestPart];
  ssize_t got = recv(stream_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) ThrowEnded("before " + what);
  buffer_.append(bytes, static_cast<size_t>(got));
}

void RelayProcess::Greet() {
  auto deadline = steady_clock::now() + kStartTimeout;
  const std::string greeting = relay::kGreeting;
  const std::string any_version = greeting.substr(0, greeting.find(' ') + 1);
  while (true) {
    size_t begin = 0;
    for (size_t end; (end = buffer_.find('\n', begin)) != std::string::npos;
         begin = end + 1) {
      std::string line = buffer_.substr(begin, end - begin);
      if (line.starts_with(greeting)) {
        buffer_.erase(0, end + 1);
        return;
      }
      if (line.starts_with(any_version)) {
        throw Error(fmt::format(
            "{}: the relay there is of another version ('{}'): bring "
            "the folder of this version into the container",
            place_.name, OneLine(line)));
      }
    }
    if (buffer_.size() > kLongestBanner) {
      throw Error(fmt::format("{}: what answers is no relay but prints '{}'",
                              place_.name, OneLine(buffer_.substr(0, 80))));
    }
    Read(deadline, "the relay's greeting");
  }
}

void RelayProcess::Send(relay::Kind kind, const std::string& payload,
                        steady_clock::time_point deadline) {
  std::string frame;
  relay::AppendHeader(frame, kind, payload.size());
  frame += payload;
  for (size_t sent = 0; sent < frame.size();) {
    if (!WaitFor(stream_.get(), POLLOUT, deadline)) {
      throw NoAnswerInTime(
          fmt::format("{}: the relay does not read the request", place_.name));
    }
    ssize_t put = send(stream_.get(), frame.data() + sent, frame.size() - sent,
                       MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put < 0 && errno != EAGAIN && errno != EINTR)
      ThrowEnded("before the request could be sent");
    if (put > 0) sent += static_cast<size_t>(put);
  }
}

relay::Kind RelayProcess::Receive(std::string& payload,
                                  steady_clock::time_point deadline,
                                  const std::string& what) {
  while (buffer_.size() < relay::kHeaderSize) Read(deadline, what);
  size_t length = relay::Length(buffer_.data());
  constexpr std::string_view kKinds = "LDAEX";
  if (length > relay::kLargestPart ||
      kKinds.find(buffer_[0]) == std::string_view::npos) {
    throw Error(fmt::format(
        "{}: what came is no part of an answer; something else writes to the "
        "command's output (a terminal: leave out -t)",
        place_.name));
  }
  while (buffer_.size() < relay::kHeaderSize + length) Read(deadline, what);
  auto kind = static_cast<relay::Kind>(buffer_[0]);
  payload = buffer_.substr(relay::kHeaderSize, length);
  buffer_.erase(0, relay::kHeaderSize + length);
  return kind;
}

class RelayChannel : public Channel {
 public:
  RelayChannel(RelayPlace place, int pid)
      : place_(std::move(place)), pid_inside_(pid) {}

  std::string Ask(const std::string& request, int output,
                  milliseconds timeout) override;
  std::string name() const override { return place_.name; }
  int pid() const override { return 0; }

 private:
  std::unique_ptr<RelayProcess> Take();

  RelayPlace place_;
  int pid_inside_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<RelayProcess>> idle_;
};

std::unique_ptr<RelayProcess> RelayChannel::Take() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    while (!idle_.empty()) {
      auto taken = std::move(idle_.back());
      idle_.pop_back();
      if (taken->IsQuiet()) return taken;
    }
  }
  return std::make_unique<RelayProcess>(place_);
}

void WriteAll(int fd, const std::string& bytes) {
  for (size_t done = 0; done < bytes.size();) {
    ssize_t put = write(fd, bytes.data() + done, bytes.size() - done);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      throw Error(fmt::format("what the inspector sends cannot be kept: {}",
                              std::strerror(errno)));
    }
    done += static_cast<size_t>(put);
  }
}

std::string RelayChannel::Ask(const std::string& request, int output,
                              milliseconds timeout) {
  std::unique_ptr<RelayProcess> relay = Take();
  auto deadline = steady_clock::now() + timeout;
  relay->Send(
      relay::Kind::kRequest,
      fmt::format("{} {}\n{}", pid_inside_, output >= 0 ? 1 : 0, request),
      deadline);
  std::string answer;
  std::string payload;
  // A relay that throws here is not used again.
  while (true) {
    switch (relay->Receive(payload, deadline, "the answer")) {
      case relay::Kind::kData:
        WriteAll(output, payload);
        break;
      case relay::Kind::kAnswer:
        answer += payload;
        break;
      case relay::Kind::kError:
        throw Error(fmt::format("{}: {}", name(), OneLine(payload)));
      case relay::Kind::kEnd: {
        std::lock_guard<std::mutex> lock(mutex_);
        idle_.push_back(std::move(relay));
        return answer;
      }
      default:
        throw Error(fmt::format("{}: an answer to another question", name()));
    }
    if (answer.size() > kLongestReply) {
      throw Error(fmt::format(
          "{}: the answer is longer than {} MiB; what listens there is no "
          "inspector of this version",
          name(), kLongestReply >> 20));
    }
  }
}

}  // namespace

std::string QuotedForShell(const std::string& word) {
  std::string quoted = "'";
  for (char c : word) {
    if (c == '\'')
      quoted += "'\\''";
    else
      quoted += c;
  }
  return quoted + "'";
}

std::string OneLine(const std::string& text) {
  std::string line;
  for (size_t i = 0; i < text.size(); ++i) {
    auto byte = static_cast<unsigned char>(text[i]);
    auto next =
        static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    bool is_blank = byte == '\n' || byte == '\r' || byte == '\t' || byte == ' ';
    bool is_long_control = byte == 0xc2 && next >= 0x80 && next < 0xa0;
    if (is_long_control) ++i;
    bool is_control = byte < ' ' || byte == 0x7f || is_long_control;
    if (!is_blank) line += is_control ? '?' : static_cast<char>(byte);
    if (is_blank && !line.empty() && line.back() != ' ') line += ' ';
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  constexpr size_t kLongest = 300;
  return line.size() > kLongest ? "…" + line.substr(line.size() - kLongest)
                                : line;
}

std::vector<int> AgentsAt(const RelayPlace& place) {
  RelayProcess relay(place);
  auto deadline = steady_clock::now() + milliseconds(10'000);
  relay.Send(relay::Kind::kList, "", deadline);
  std::string payload;
  auto kind = relay.Receive(payload, deadline, "the list of inspectors");
  if (kind != relay::Kind::kAgents)
    throw Error(fmt::format("{}: {}", place.name,
                            kind == relay::Kind::kError
                                ? OneLine(payload)
                                : "an answer to another question"));
  std::vector<int> agents;
  std::istringstream lines(payload);
  for (std::string line; std::getline(lines, line);) {
    int pid = std::atoi(line.c_str());  // The name follows, for people.
    if (pid > 0) agents.push_back(pid);
  }
  return agents;
}

std::unique_ptr<Channel> Relayed(const RelayPlace& place, int pid) {
  return std::make_unique<RelayChannel>(place, pid);
}

}  // namespace collector
