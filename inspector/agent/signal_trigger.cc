#include "inspector/agent/signal_trigger.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "inspector/agent/settings.h"

namespace inspector {
namespace {

// What the handler needs; written before the handler can run.
int caught = 0;
std::atomic<int> wake_descriptor{-1};
FileId wake_file;
std::atomic<pid_t> owner{0};
std::atomic<bool> noted{false};
std::atomic<bool> noted_by_children{false};
struct sigaction before_us = {};

bool IsFunction(const struct sigaction& action) {
  return (action.sa_flags & SA_SIGINFO) != 0 ||
         (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN);
}

/// On any thread of the service, between any two instructions; also in a child
/// that was forked in C and has not reached its exec yet.
void OnSignal(int number, siginfo_t* info, void* context) noexcept {
  int error = errno;
  bool is_ours = getpid() == owner.load();
  bool is_noted = is_ours || noted_by_children.load();
  if (is_noted) noted.store(true);
  int wake = wake_descriptor.load();
  if (is_ours && wake_file.IsOf(wake)) (void)!write(wake, "", 1);
  if ((before_us.sa_flags & SA_SIGINFO) != 0) {
    before_us.sa_sigaction(number, info, context);
  } else if (IsFunction(before_us)) {
    before_us.sa_handler(number);
  } else if (!is_noted) {
    sigaction(number, &before_us, nullptr);
    kill(getpid(), number);  // Comes when we return, and ends it as without us.
  }
  errno = error;
}

bool IsInPlace() {
  struct sigaction now = {};
  return caught != 0 && sigaction(caught, nullptr, &now) == 0 &&
         (now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == OnSignal;
}

}  // namespace

std::string CatchSignal(int number, int wake, FileId pipe,
                        bool children_are_armed) {
  wake_descriptor.store(-1);
  wake_file = pipe;
  wake_descriptor.store(wake);
  owner.store(getpid());
  noted_by_children.store(children_are_armed);
  if (number == caught) return {};
  struct sigaction action = {};
  sigaction(number, nullptr, &before_us);
  if (!IsFunction(before_us) && before_us.sa_handler == SIG_IGN)
    return "SIG" + SignalName(number) +
           " is ignored in this process (nohup?), and so it stays; choose "
           "another CYCLESCOPE_SIGNAL";
  // As much of a system call is interrupted as by the handler that was there;
  // where there was none, the signal would have ended the process.
  action.sa_mask = before_us.sa_mask;
  action.sa_flags =
      (IsFunction(before_us) ? before_us.sa_flags : SA_RESTART | SA_ONSTACK) |
      SA_SIGINFO;
  action.sa_sigaction = OnSignal;
  caught = number;
  sigaction(number, &action, nullptr);
  return {};
}

void ReleaseSignal() {
  if (IsInPlace()) sigaction(caught, &before_us, nullptr);
  caught = 0;
}

bool TakeSignal() { return noted.exchange(false); }

bool SignalIsTaken() { return caught != 0 && !IsInPlace(); }

}  // namespace inspector
