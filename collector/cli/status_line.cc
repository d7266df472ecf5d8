#include "collector/cli/status_line.h"

#include <fmt/format.h>
#include <unistd.h>

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

}  // namespace collector
