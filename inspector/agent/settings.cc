#include "inspector/agent/settings.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "inspector/agent/listener.h"

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

// Whose default is to end the process and which nobody but people sends; the
// rest means something to the kernel, the shell or the interpreter.
struct NamedSignal {
  const char* name;
  int number;
};
constexpr NamedSignal kSignals[] = {
    {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"HUP", SIGHUP}};

int ParseSignal(const std::string& text) {
  for (const NamedSignal& signal : kSignals)
    if (text == signal.name || text == std::string("SIG") + signal.name)
      return signal.number;
  throw std::runtime_error("CYCLESCOPE_SIGNAL=" + text +
                           " cannot be used; USR1, USR2 and HUP can");
}

double ParsePercent(const std::string& text) {
  char* end = nullptr;
  double value = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || std::string(end) != "%" ||
      !(value >= 1 && value <= 100))
    throw std::runtime_error("CYCLESCOPE_AT=" + text +
                             " is no share of the memory limit; write it as "
                             "80%");
  return value;
}

std::vector<std::string> ParseAllow(const std::string& text) {
  std::vector<std::string> allow = Split(text);
  for (const std::string& request : allow)
    if (request != "collect" && request != "trim" && request != "oracle")
      throw std::runtime_error("CYCLESCOPE_ALLOW=" + request +
                               " is not known; collect and trim are");
  return allow;
}

}  // namespace

bool Settings::Allows(const std::string& request) const {
  return std::find(allow.begin(), allow.end(), request) != allow.end();
}

std::string SignalName(int number) {
  for (const NamedSignal& signal : kSignals)
    if (signal.number == number) return signal.name;
  return {};
}

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

std::string DefaultDirectory() {
  for (const char* candidate : {"/run", "/tmp", "/dev/shm"})
    if (ObjectionTo(candidate).empty()) return candidate;
  return {};
}

Settings ReadSettings() {
  Settings settings;
  settings.directory = Variable("CYCLESCOPE_DIR");
  settings.directory_is_default = settings.directory.empty();
  if (settings.directory_is_default) {
    settings.directory = DefaultDirectory();
    if (settings.directory.empty())
      throw std::runtime_error(
          "none of /run, /tmp and /dev/shm can be written; name a directory in "
          "CYCLESCOPE_DIR");
  } else if (std::string objection = ObjectionTo(settings.directory);
             !objection.empty()) {
    throw std::runtime_error("CYCLESCOPE_DIR=" + settings.directory + " " +
                             objection);
  }
  settings.out = Variable("CYCLESCOPE_OUT");
  settings.out_is_stderr = settings.out == "stderr";
  std::string every = Variable("CYCLESCOPE_EVERY");
  if (!every.empty())
    settings.every_seconds = ParseDuration("CYCLESCOPE_EVERY", every);
  std::string signal = Variable("CYCLESCOPE_SIGNAL");
  if (!signal.empty()) settings.signal = ParseSignal(signal);
  std::string at = Variable("CYCLESCOPE_AT");
  if (!at.empty()) settings.at_percent = ParsePercent(at);
  settings.allow = ParseAllow(Variable("CYCLESCOPE_ALLOW"));
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
