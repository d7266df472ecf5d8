#include "collector/sample/interrupt.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "collector/error.h"

namespace collector {

namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};

// A signal handler can reach nothing but globals.
std::atomic<bool> g_requested = false;
int g_pipe[2] = {-1, -1};

void OnSignal(int) noexcept {
  int saved = errno;
  g_requested = true;
  // Never read: the pipe stays readable, so every sleeper wakes.
  [[maybe_unused]] ssize_t written = write(g_pipe[1], "x", 1);
  errno = saved;
}

}  // namespace

Interrupt::Interrupt() {
  if (pipe2(g_pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
    throw Error(std::string("pipe: ") + std::strerror(errno));
  }
  g_requested = false;
  for (int signal : kSignals) {
    struct sigaction action = {};
    action.sa_handler = OnSignal;
    action.sa_flags = SA_RESETHAND | SA_RESTART;
    sigaction(signal, &action, nullptr);
  }
}

Interrupt::~Interrupt() {
  for (int signal : kSignals) ::signal(signal, SIG_DFL);
  for (int& end : g_pipe) close(std::exchange(end, -1));
}

bool Interrupt::requested() const { return g_requested; }

bool Interrupt::SleepUntil(std::chrono::steady_clock::time_point time) const {
  using std::chrono::milliseconds;
  while (!g_requested) {
    auto left = std::chrono::ceil<milliseconds>(
        time - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    pollfd entry = {g_pipe[0], POLLIN, 0};
    poll(&entry, 1, static_cast<int>(std::min<int64_t>(left.count(), 60'000)));
  }
  return true;
}

}  // namespace collector
