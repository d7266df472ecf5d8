#include "collector/verdict/json_access.h"

#include <charconv>
#include <cmath>

namespace collector {

const nlohmann::json& At(const nlohmann::json& value, std::string_view path) {
  static const nlohmann::json kNull;
  const nlohmann::json* here = &value;
  while (!path.empty()) {
    size_t end = std::min(path.find('/'), path.size());
    std::string_view key = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (here->is_object()) {
      auto found = here->find(std::string(key));
      if (found == here->end()) return kNull;
      here = &*found;
    } else if (here->is_array()) {
      size_t index = 0;
      auto [rest, error] =
          std::from_chars(key.data(), key.data() + key.size(), index);
      if (error != std::errc() || rest != key.data() + key.size() ||
          index >= here->size())
        return kNull;
      here = &(*here)[index];
    } else {
      return kNull;
    }
  }
  return *here;
}

std::optional<double> NumberAt(const nlohmann::json& value,
                               std::string_view path) {
  const nlohmann::json& found = At(value, path);
  if (!found.is_number()) return std::nullopt;
  return found.get<double>();
}

std::string TextAt(const nlohmann::json& value, std::string_view path) {
  const nlohmann::json& found = At(value, path);
  return found.is_string() ? found.get<std::string>() : std::string();
}

nlohmann::json OrNull(const std::optional<double>& value) {
  if (!value || !std::isfinite(*value)) return nullptr;
  return *value;
}

}  // namespace collector
