#pragma once

#include <filesystem>

#include "collector/store/run.h"
#include "collector/verdict/run_facts.h"

namespace collector {

/// Reads all that the verdict and the report need from a run folder. A
/// snapshot whose file is missing or damaged becomes a null report with the
/// reason in `problem`; everything else that fails throws Error.
RunFacts LoadRunFacts(const RunReader& reader);
RunFacts LoadRunFacts(const std::filesystem::path& folder);

}  // namespace collector
