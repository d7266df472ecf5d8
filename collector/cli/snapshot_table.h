#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace collector {

/// A `cyclescope.snapshot/1` as a person reads it: watched types and cycles by
/// state, with the source lines that made them; the largest types; collector,
/// memory, pause and cost. `top` rows per list, 0 for all.
std::string RenderSnapshot(const nlohmann::json& report, size_t top);

/// Parts of it, and of what else is told of a heap. Lists of the report, or of
/// that form; `top` rows, 0 for all. Types and cycles have a column for what
/// they retain if any entry says it.
std::string RenderHead(const nlohmann::json& report);
/// A line on the frozen garbage of a heap, which its floating figures are
/// without; empty if there is none.
std::string RenderFrozenGarbage(const nlohmann::json& heap);
std::string RenderLargest(const nlohmann::json& largest, size_t top);
std::string RenderTypes(const nlohmann::json& types, size_t top);
std::string RenderCycles(const nlohmann::json& cycles, size_t top);
std::string RenderHolders(const nlohmann::json& holders, size_t top);
std::string RenderLimits(const nlohmann::json& limits);

/// The first source lines of a cycle: `insights/core/dr.py:1064 in
/// run_components (raised, 19 times)`; at most `most`. The role is `raised`
/// where an exception's traceback ends, `frame` where a frame, generator or
/// coroutine stands, `defined` where a function begins that the cycle goes
/// through, if the cycle has neither.
std::vector<std::string> SiteLines(const nlohmann::json& cycle, size_t most);

}  // namespace collector
