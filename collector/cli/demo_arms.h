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

/// Makes below `folder` a copy, by symbolic links, of every package of
/// `site_packages` that `patch` touches, with the patch applied: put first on
/// PYTHONPATH it is what gets imported. The installed files stay as they are.
/// Throws Error if the patch does not apply exactly, with what `patch` said.
void MakeOverlay(const std::filesystem::path& patch,
                 const std::filesystem::path& site_packages,
                 const std::filesystem::path& folder);

/// `lib/python3.x/site-packages` of a virtual environment. Throws Error.
std::filesystem::path SitePackages(const std::filesystem::path& venv);

}  // namespace collector
