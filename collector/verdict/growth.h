#pragma once

#include <nlohmann/json.hpp>

namespace collector {

/// What grew between two snapshot reports of one process, as
/// `cyclescope.diff/1`:
///
/// - `grew` and `shrank`, by bytes: an entry for each type with `type`, `state`
///   (that of most of the growth), `count`, `bytes`, `pinned`, `floating`,
///   `in_flight` and `never` (all: after minus before), `before` and `after`
///   {`count`, `bytes`}, `held_by` with `held_by_count` (the holder that grew
///   most), `holders` (all that grew) and `cycle` (the signature that grew
///   most among those it is on). Of builtin types, which say nothing on their
///   own, an entry for each holder; what is left of them has `held_by` null.
/// - `cycles`: the same for each signature that grew.
/// - `heap`, `memory`, `gc`: {`before`, `after`, `growth`} of each figure. What
///   is null in a report is null here, with its `reason`.
///
/// Throws NotComparable if they are not of one process or in the wrong order.
nlohmann::json Growth(const nlohmann::json& before,
                      const nlohmann::json& after);

/// True if the type is the interpreter's own: `builtins.dict`.
bool IsBuiltinType(const std::string& type);

}  // namespace collector
