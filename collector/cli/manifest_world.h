#pragma once

#include <string>
#include <vector>

#include "injector/manifest.h"

namespace collector {

/// Files, variables and images of this machine. An engine is asked once for
/// each image, and only then.
injector::ManifestWorld ThisMachine();

/// What this process's CYCLESCOPE_* variables ask of an agent, to be handed on.
injector::Environment InspectorVariables();

/// Each on a line of its own on stderr.
void PrintWarnings(const std::vector<std::string>& warnings);

}  // namespace collector
