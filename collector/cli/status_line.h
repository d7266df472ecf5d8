#pragma once

#include <string>

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

}  // namespace collector
