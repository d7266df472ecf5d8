#include "inspector/agent/fork_gate.h"

#include <chrono>

namespace inspector {

bool ForkGate::BeginFork() {
  std::lock_guard<std::mutex> lock(mutex_);
  ++forks_;
  return !inside_;
}

void ForkGate::WaitToFork() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return !inside_; });
}

void ForkGate::EndFork() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (forks_ > 0) --forks_;  // The agent may have come in between.
  changed_.notify_all();
}

bool ForkGate::Enter(const std::atomic<bool>& stop) {
  constexpr std::chrono::milliseconds kSlice(5);  // `stop` does not notify.
  std::unique_lock<std::mutex> lock(mutex_);
  while (forks_ > 0 && !stop.load()) changed_.wait_for(lock, kSlice);
  inside_ = forks_ == 0 && !stop.load();
  return inside_;
}

void ForkGate::Leave() {
  std::lock_guard<std::mutex> lock(mutex_);
  inside_ = false;
  changed_.notify_all();
}

}  // namespace inspector
