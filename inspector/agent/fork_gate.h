#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>

namespace inspector {

/// Keeps the agent's thread from taking the GIL while another thread is inside
/// os.fork, without ending it: a snapshot's child works on meanwhile. Where the
/// agent makes its thread state and the fork copies the process, 3.11 waits for
/// ever in the forked child, which frees the other threads' states before it
/// renews the lock that making one takes without the GIL (Python/pystate.c,
/// _PyThreadState_DeleteExcept).
class ForkGate {
 public:
  /// On a thread that is about to fork, with the GIL: true if it may, false if
  /// it must call WaitToFork first, without the GIL, which the agent may have.
  bool BeginFork();
  void WaitToFork();
  /// In the parent, once for each BeginFork.
  void EndFork();

  /// On the agent's thread, before it asks for the GIL: waits until nobody
  /// forks. False if `stop` became true; then it must not.
  bool Enter(const std::atomic<bool>& stop);
  /// After it has let go of the GIL.
  void Leave();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int forks_ = 0;
  bool inside_ = false;
};

}  // namespace inspector
