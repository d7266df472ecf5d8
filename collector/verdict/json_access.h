#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace collector {

/// The value at a path like "gc/stats/2/collected"; null if there is none.
/// Snapshots are input: nothing here throws on an odd shape.
const nlohmann::json& At(const nlohmann::json& value, std::string_view path);

/// The number there; nothing if it is null, missing or not a number.
std::optional<double> NumberAt(const nlohmann::json& value,
                               std::string_view path);

/// The text there; empty if it is null, missing or not text.
std::string TextAt(const nlohmann::json& value, std::string_view path);

/// The number, or null.
nlohmann::json OrNull(const std::optional<double>& value);

}  // namespace collector
