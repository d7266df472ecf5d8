#include "injector/target.h"

#include <charconv>
#include <filesystem>
#include <optional>

#include "injector/environment.h"

namespace injector {

namespace {

std::optional<int> Number(const std::string& text) {
  int number = 0;
  const char* end = text.data() + text.size();
  auto parsed = std::from_chars(text.data(), end, number);
  if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return number;
}

int PidBehindAt(const std::string& text, const std::string& pid) {
  std::optional<int> number = Number(pid);
  if (!number || *number <= 0)
    throw Error("target '" + text + "': '" + pid +
                "' is no pid; write the number that the process has in its "
                "container behind the @");
  return *number;
}

}  // namespace

Target ParseTarget(const std::string& text) {
  using Kind = Target::Kind;
  if (std::optional<int> pid = Number(text)) {
    if (*pid > 0) return {Kind::kPid, "", *pid};
    throw Error("target '" + text +
                "': no process has such a number; `cyclescope ps` lists those "
                "that there are");
  }
  if (text.starts_with("exec:") || text.starts_with("exec@")) {
    size_t colon = text.find(':');
    std::string command =
        colon == std::string::npos ? "" : text.substr(colon + 1);
    if (command.find_first_not_of(' ') == std::string::npos)
      throw Error("target '" + text +
                  "': no command; write for example exec:'podman exec -i "
                  "NAME'");
    int pid = text[4] == '@' ? PidBehindAt(text, text.substr(5, colon - 5)) : 0;
    return {Kind::kCommand, command, pid};
  }
  if (text.starts_with("label:")) {
    if (text.find('=') == std::string::npos)
      throw Error("target '" + text + "': write label:KEY=VALUE");
    return {Kind::kLabel, text.substr(6), 0};
  }
  // A container is often called as the folder is that it was built from.
  std::error_code ignored;
  if (text.find('/') != std::string::npos ||
      std::filesystem::is_socket(text, ignored))
    return {Kind::kSocket, text, 0};
  size_t at = text.rfind('@');
  if (text.empty() || at == 0)
    throw Error("target '" + text +
                "': neither a pid, nor a container, nor the path of a socket, "
                "nor exec:'CMD'");
  if (at == std::string::npos) return {Kind::kName, text, 0};
  return {Kind::kName, text.substr(0, at),
          PidBehindAt(text, text.substr(at + 1))};
}

}  // namespace injector
