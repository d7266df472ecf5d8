#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace collector {

/// A `cyclescope.snapshot/1` as a person reads it: watched types and cycles by
/// state, with the source lines that made them; the largest types; collector,
/// memory, pause and cost. `top` rows per list, 0 for all.
std::string RenderSnapshot(const nlohmann::json& report, size_t top);

/// The first source lines of a cycle: `insights/core/dr.py:1064 in
/// run_components (raised, 19 times)`; at most `most`.
std::vector<std::string> SiteLines(const nlohmann::json& cycle, size_t most);

}  // namespace collector
