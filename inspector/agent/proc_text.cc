#include "inspector/agent/proc_text.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

namespace inspector {

std::string ReadFile(const std::string& path) {
  int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return {};
  std::string text;
  char buffer[4096];
  for (ssize_t size; (size = read(descriptor, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(size));
  close(descriptor);
  return text;
}

std::optional<int64_t> NumberAfter(const std::string& text,
                                   const std::string& name) {
  size_t at = text.rfind(name, 0) == 0 ? 0 : text.find("\n" + name);
  if (at == std::string::npos) return std::nullopt;
  at += name.size() + (at == 0 && text.rfind(name, 0) == 0 ? 0 : 1);
  return std::strtoll(text.c_str() + at, nullptr, 10);
}

std::optional<int64_t> KibibytesAfter(const std::string& text,
                                      const std::string& name) {
  auto value = NumberAfter(text, name);
  if (value) *value *= 1024;
  return value;
}

}  // namespace inspector
