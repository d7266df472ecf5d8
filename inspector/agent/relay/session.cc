#include "inspector/agent/relay/session.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "inspector/agent/relay/agents.h"
#include "inspector/agent/relay/frames.h"
#include "inspector/agent/relay/install.h"

namespace relay {

namespace {

constexpr int kIn = 0;
constexpr int kOut = 1;

/// Ends this process if nobody reads any more: there is nothing else to do.
void WriteAll(const std::string& text) {
  for (size_t done = 0; done < text.size();) {
    ssize_t put = write(kOut, text.data() + done, text.size() - done);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) _exit(0);
    done += static_cast<size_t>(put);
  }
}

void Send(Kind kind, std::string_view payload) {
  std::string frame;
  AppendHeader(frame, kind, payload.size());
  frame.append(payload);
  WriteAll(frame);
}

void SendError(const std::string& sentence) { Send(Kind::kError, sentence); }

/// Closes what is left open at the end of a request.
class Fd {
 public:
  explicit Fd(int number = -1) : number_(number) {}
  Fd(const Fd&) = delete;
  ~Fd() { Close(); }
  void Close() {
    if (number_ >= 0) close(number_);
    number_ = -1;
  }
  void Set(int number) {
    Close();
    number_ = number;
  }
  int number() const { return number_; }

 private:
  int number_;
};

/// The input, read as it comes, so that its end is seen at any time.
class Input {
 public:
  /// False at the end. Blocks until something is there.
  bool Read() {
    char bytes[16 << 10];
    ssize_t got;
    do {
      got = read(kIn, bytes, sizeof bytes);
    } while (got < 0 && errno == EINTR);
    if (got > 0) buffer_.append(bytes, static_cast<size_t>(got));
    return got > 0;
  }
  /// Whether a whole frame has come; `is_none` if what came is no frame.
  bool Take(char* kind, std::string* payload, bool* is_none) {
    *is_none = false;
    if (buffer_.size() < kHeaderSize) return false;
    size_t length = Length(buffer_.data());
    *kind = buffer_[0];
    if ((*kind != static_cast<char>(Kind::kList) &&
         *kind != static_cast<char>(Kind::kRequest)) ||
        length > kLargestRequest) {
      *is_none = true;
      return false;
    }
    if (buffer_.size() < kHeaderSize + length) return false;
    *payload = buffer_.substr(kHeaderSize, length);
    buffer_.erase(0, kHeaderSize + length);
    return true;
  }

 private:
  std::string buffer_;
};

std::string List(const std::vector<Agent>& agents) {
  std::string text;
  for (const Agent& agent : agents)
    text += std::to_string(agent.pid) + " " + agent.name + "\n";
  return text;
}

/// The agent of `pid`, or the only one.
bool Choose(int pid, Agent* chosen, std::string* problem) {
  int closed = 0;
  std::vector<Agent> agents = FindAgents(&closed, pid);
  // For the sentence.
  if (agents.empty() && pid != 0) agents = FindAgents(&closed);
  for (const Agent& agent : agents) {
    if (agent.pid != pid && (pid != 0 || agents.size() != 1)) continue;
    *chosen = agent;
    return true;
  }
  if (agents.empty()) {
    *problem =
        closed > 0
            ? "there is no inspector that this user (uid " +
                  std::to_string(geteuid()) + ") may talk to, but " +
                  std::to_string(closed) +
                  " of other users; enter the container as the user that the "
                  "service runs as"
            : "there is no inspector in any process there; start the service "
              "with PYTHONPATH=" +
                  OwnFolder() +
                  " (see `cyclescope compose`), "
                  "or look whether Python was started with -I, -E or -S";
    return false;
  }
  std::string list;
  for (const Agent& agent : agents)
    list += (list.empty() ? "" : ", ") + std::to_string(agent.pid) + " (" +
            agent.name + ")";
  *problem = pid != 0
                 ? "there is no inspector in process " + std::to_string(pid) +
                       " there, but in " + list
                 : "there are inspectors in several processes there: " + list +
                       "; name one with @PID";
  return false;
}

/// Sends the request line, the descriptor with its first byte.
bool SendRequest(int socket, std::string_view line, int descriptor) {
  for (size_t sent = 0; sent < line.size();) {
    iovec part = {const_cast<char*>(line.data()) + sent, line.size() - sent};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    if (descriptor >= 0 && sent == 0) {
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
    }
    ssize_t put = sendmsg(socket, &message, MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EAGAIN) {
      pollfd entry = {socket, POLLOUT, 0};
      poll(&entry, 1, 1000);
      continue;
    }
    if (put <= 0) return false;
    sent += static_cast<size_t>(put);
  }
  return true;
}

/// Carries one request to the agent and back. False if our input has ended:
/// nobody waits any more. Memory: one part, however long the answer.
bool Carry(const std::string& payload, Input& input) {
  size_t newline = payload.find('\n');
  int pid = 0;
  int wants_pipe = 0;
  if (newline == std::string::npos ||
      std::sscanf(payload.c_str(), "%d %d", &pid, &wants_pipe) != 2) {
    SendError("the request has no line with a pid");
    return true;
  }
  Agent agent;
  std::string problem;
  if (!Choose(pid, &agent, &problem)) {
    SendError(problem);
    return true;
  }
  Fd socket(ConnectTo(agent.socket, agent.pid));
  if (socket.number() < 0) {
    SendError("the inspector of process " + std::to_string(agent.pid) +
              " does not take connections any more; the process is ending");
    return true;
  }
  Fd data;
  Fd data_in;
  if (wants_pipe == 1) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
      SendError(std::string("pipe: ") + strerror(errno));
      return true;
    }
    data.Set(ends[0]);
    data_in.Set(ends[1]);
  }
  std::string line = payload.substr(newline + 1) + "\n";
  if (!SendRequest(socket.number(), line, data_in.number())) {
    SendError("the request could not be sent to process " +
              std::to_string(agent.pid) + "; it is ending");
    return true;
  }
  data_in.Close();  // The agent has its own.
  bool answered = false;
  static char bytes[kLargestPart];
  while (!answered || data.number() >= 0) {
    pollfd waits[] = {{kIn, POLLIN, 0},
                      {answered ? -1 : socket.number(), POLLIN, 0},
                      {data.number(), POLLIN, 0}};
    if (poll(waits, 3, -1) < 0) continue;  // EINTR.
    if (waits[0].revents != 0 && !input.Read()) return false;
    // What it wrote comes first: the answer ends the request.
    if (waits[2].revents != 0) {
      ssize_t got = read(data.number(), bytes, sizeof bytes);
      if (got > 0)
        Send(Kind::kData, {bytes, static_cast<size_t>(got)});
      else if (got == 0 || errno != EINTR)
        data.Close();
      continue;
    }
    if (waits[1].revents == 0) continue;
    ssize_t got = recv(socket.number(), bytes, sizeof bytes, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got <= 0) {
      SendError(
          "the connection ended before the answer was complete; process " +
          std::to_string(agent.pid) + " has ended or is ending");
      return true;
    }
    const char* end = std::find(bytes, bytes + got, '\n');
    answered = end != bytes + got;
    Send(Kind::kAnswer, {bytes, static_cast<size_t>(end - bytes)});
  }
  Send(Kind::kEnd, {});
  return true;
}

}  // namespace

int Serve() {
  signal(SIGPIPE, SIG_IGN);
  WriteAll(std::string(kGreeting) + CYCLESCOPE_VERSION + "\n");
  Input input;
  for (;;) {
    char kind = 0;
    std::string payload;
    bool is_none = false;
    if (!input.Take(&kind, &payload, &is_none)) {
      if (is_none) {
        SendError("what came is no request of this version");
        return 1;
      }
      if (!input.Read()) return 0;
      continue;
    }
    if (kind == static_cast<char>(Kind::kList)) {
      int closed = 0;
      Send(Kind::kAgents, List(FindAgents(&closed)));
    } else if (!Carry(payload, input)) {
      return 0;
    }
  }
}

}  // namespace relay
