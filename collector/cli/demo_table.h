#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace collector {

/// What the demo says at its end, from its `cyclescope.demo/1`: one row per
/// arm, then per arm its legs, its cycles with their source lines and whether
/// these prevent collection, then the comparisons.
std::string RenderDemo(const nlohmann::json& demo);

}  // namespace collector
