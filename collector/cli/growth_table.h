#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace collector {

/// A `cyclescope.diff/1` as a person reads it: types by what grew most, each
/// with its holder; cycles with their source lines; memory and collector. `top`
/// rows per list, 0 for all.
std::string RenderGrowth(const nlohmann::json& growth, size_t top);

}  // namespace collector
