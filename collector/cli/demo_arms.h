#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace collector {

/// One way to run the service: which packages, which patch, collector on or
/// off.
struct DemoArm {
  std::string name;  // Also the name of its run folder.
  std::string venv;  // A folder below the virtual environments.
  bool collector_on = true;
  std::filesystem::path patch;  // Empty: none.
  std::string base;             // The arm to compare with; empty: none.
};

/// What the arms are made of.
struct DemoFixtures {
  std::filesystem::path ccx;     // rules-processing.yaml, collector-off/, …
  std::filesystem::path venvs;   // before/, published-fixes/, moto/
  std::filesystem::path broker;  // The mock_broker program.
  std::filesystem::path hook;    // The inspector.
};

/// The arms for `collector` (`on`, `off`, `both`; empty: `before` as it is and
/// every arm with the collector off) and further `patches`. Throws UsageError
/// if two patches would make arms of one name.
std::vector<DemoArm> DemoArms(const std::string& collector,
                              const std::vector<std::filesystem::path>& patches,
                              const DemoFixtures& fixtures);

/// Throws Error naming the first thing that an arm needs and that is missing.
void CheckFixtures(const DemoFixtures& fixtures,
                   const std::vector<DemoArm>& arms);

/// Makes `folder` an overlay for PYTHONPATH with the packages that the arm's
/// patch changes. Throws Error if the patch does not apply exactly, saying why.
void MakeOverlay(const DemoFixtures& fixtures, const DemoArm& arm,
                 const std::filesystem::path& folder);

}  // namespace collector
