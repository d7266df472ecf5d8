#include "inspector/agent/settings.h"

#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

namespace inspector {
namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (begin <= text.size()) {
    size_t end = std::min(text.find(',', begin), text.size());
    size_t first = text.find_first_not_of(' ', begin);
    size_t last = text.find_last_not_of(' ', end == 0 ? 0 : end - 1);
    if (first < end && last != std::string::npos && last >= first)
      parts.push_back(text.substr(first, last - first + 1));
    begin = end + 1;
  }
  return parts;
}

}  // namespace

double ParseDuration(const std::string& variable, const std::string& text) {
  char* end = nullptr;
  double value = std::strtod(text.c_str(), &end);
  std::string unit(end);
  double factor = unit == "ms"                  ? 0.001
                  : unit.empty() || unit == "s" ? 1
                  : unit == "m"                 ? 60
                  : unit == "h"                 ? 3600
                                                : 0;
  if (end == text.c_str() || factor == 0 || !(value > 0))
    throw std::runtime_error(variable + "=" + text +
                             " is no duration; write it as 500ms, 60s, 5m or "
                             "2h");
  value *= factor;
  constexpr double kShortest = 0.001;
  constexpr double kLongest = 366.0 * 24 * 3600;
  if (value < kShortest || value > kLongest)
    throw std::runtime_error(variable + "=" + text +
                             " is out of range; from 1ms to 8784h can be had");
  return value;
}

Settings ReadSettings() {
  Settings settings;
  settings.directory = Variable("CYCLESCOPE_DIR");
  if (settings.directory.empty()) {
    for (const char* candidate : {"/run", "/tmp", "/dev/shm"}) {
      if (access(candidate, W_OK | X_OK) != 0) continue;
      settings.directory = candidate;
      break;
    }
    if (settings.directory.empty())
      throw std::runtime_error(
          "none of /run, /tmp and /dev/shm can be written; name a directory in "
          "CYCLESCOPE_DIR");
  } else if (access(settings.directory.c_str(), W_OK | X_OK) != 0) {
    throw std::runtime_error("CYCLESCOPE_DIR=" + settings.directory +
                             " cannot be written; name another directory");
  }
  settings.out = Variable("CYCLESCOPE_OUT");
  if (settings.out == "stderr")
    throw std::runtime_error(
        "CYCLESCOPE_OUT=stderr is not supported yet; name a directory");
  std::string every = Variable("CYCLESCOPE_EVERY");
  if (!every.empty())
    settings.every_seconds = ParseDuration("CYCLESCOPE_EVERY", every);
  settings.watch = Split(Variable("CYCLESCOPE_WATCH"));
  if (settings.watch.empty()) settings.watch = {kDefaultWatch};
  std::string children = Variable("CYCLESCOPE_CHILDREN");
  if (!children.empty()) settings.children = children;
  if (settings.children != "none" && settings.children != "workers" &&
      settings.children != "all")
    throw std::runtime_error("CYCLESCOPE_CHILDREN=" + settings.children +
                             " is not known; write none, workers or all");
  return settings;
}

}  // namespace inspector
