#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "collector/verdict/run_facts.h"

namespace collector {

/// A figure with anonymous memory over units (over hours where no units are
/// known): samples, block medians and the fit with the fan of its interval, and
/// the samples as a table. `id` is unique in the page; `judged` is the
/// service's entry of the verdict.
std::string MemoryFigure(const ServiceRun& service,
                         const nlohmann::json& judged, const std::string& unit,
                         const std::string& id);

/// A figure with cycles by state, a bar for each snapshot, and its table. Only
/// cycles through watched types where there are any.
std::string CyclesFigure(const ServiceRun& service, const std::string& unit,
                         const std::string& id);

}  // namespace collector
