#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace collector {

/// Where to test.
struct SelftestPlan {
  std::string target;  // Empty: here. Else as injector/target.h, or image:NAME.
  std::string python;  // Empty: the one that is found there.
  std::vector<std::string> run_arguments;  // Of the engine's `run`.
};

/// A Python that starts on a fifth of a core takes some seconds.
inline constexpr std::chrono::seconds kSelftestTimeout{60};

/// Starts the Python of that place on the program with the known heap
/// (inspector/hook/selftest.py) and returns what it found, as
/// `cyclescope.selftest/1`. Throws Error, also injector::Error, if it cannot be
/// started there or says nothing.
nlohmann::json Selftest(const SelftestPlan& plan);

}  // namespace collector
