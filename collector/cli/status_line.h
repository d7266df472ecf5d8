#pragma once

#include <chrono>
#include <string>
#include <thread>

namespace collector {

/// Progress on stderr: in a terminal one line that is rewritten, elsewhere a
/// line for each text.
class StatusLine {
 public:
  StatusLine();
  ~StatusLine();

  bool terminal() const { return terminal_; }
  void Say(const std::string& text);
  /// Only where the line is rewritten.
  void SayInTerminal(const std::string& text);
  /// The next text begins a new line.
  void End();

 private:
  bool terminal_;
  bool open_ = false;  // The cursor is behind an unfinished line.
};

/// Says what is waited for while it lives, once it takes over two seconds:
/// "waiting for the snapshot, 7 s of at most 120 s".
class Waiting {
 public:
  Waiting(std::string what, std::chrono::seconds at_most);

 private:
  std::jthread thread_;  // Ends, and is joined, with this.
};

}  // namespace collector
