#pragma once

#include <chrono>

namespace collector {

/// Ctrl-C (SIGINT), SIGTERM and SIGHUP as a question one can ask, so that what
/// runs is ended in order. One at a time. The second signal ends the program at
/// once: the disposition is the default again.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool requested() const;
  /// Sleeps until the time or the signal, whichever is first. True: signal.
  /// Any thread may call it.
  bool SleepUntil(std::chrono::steady_clock::time_point time) const;
};

/// Thrown where an interrupt makes going on pointless; exit code 130.
class Interrupted {};

}  // namespace collector
