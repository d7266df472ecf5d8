#include "collector/cli/status_line.h"

#include <fmt/format.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>

namespace collector {

StatusLine::StatusLine() : terminal_(isatty(STDERR_FILENO) != 0) {}

StatusLine::~StatusLine() { End(); }

void StatusLine::Say(const std::string& text) {
  if (terminal_) {
    fmt::print(stderr, "\r\033[K{}", text);
    open_ = true;
  } else {
    fmt::print(stderr, "{}\n", text);
  }
}

void StatusLine::SayInTerminal(const std::string& text) {
  if (terminal_) Say(text);
}

void StatusLine::End() {
  if (open_) fmt::print(stderr, "\n");
  open_ = false;
}

Waiting::Waiting(std::string what, std::chrono::seconds at_most)
    : thread_([what = std::move(what), at_most](const std::stop_token& stop) {
        constexpr int kFirst = 2;
        std::mutex mutex;
        std::unique_lock lock(mutex);
        std::condition_variable_any ended;
        StatusLine status;
        auto end = std::chrono::steady_clock::now();
        for (int second = 1;; ++second) {
          end += std::chrono::seconds(1);
          ended.wait_until(lock, stop, end, [] { return false; });
          if (stop.stop_requested()) return;
          std::string text = fmt::format("waiting for {}, {} s of at most {} s",
                                         what, second, at_most.count());
          if (second == kFirst) status.Say(text);
          if (second > kFirst) status.SayInTerminal(text);
        }
      }) {}

}  // namespace collector
