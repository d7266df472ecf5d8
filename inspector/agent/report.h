#pragma once

#include <string>
#include <string_view>

#include "inspector/agent/child.h"
#include "inspector/agent/process_facts.h"

namespace inspector {

/// Facts of the process that do not change.
struct ProcessIdentity {
  int pid = 0;
  std::string started;
  std::string executable;
  std::string python;
  std::string build;
};

/// One `cyclescope.snapshot/1` on one line (design, The snapshot report).
std::string SnapshotReport(const ProcessIdentity& process,
                           const std::vector<Package>& packages,
                           std::string_view trigger,
                           const ChildSnapshot& snapshot);

/// One `cyclescope.sample/1`: memory, collector and cgroup now.
std::string SampleReport(const Runtime& runtime);

/// {"gc": …}
std::string CollectorReport(const Runtime& runtime);

/// {"error": sentence}
std::string ErrorReport(std::string_view sentence);

/// The same for a snapshot that failed, with when and why it was tried and what
/// the guard saw; `refused` or `aborted` if it was the guard's doing.
std::string ErrorReport(const ChildSnapshot& snapshot,
                        std::string_view trigger);

}  // namespace inspector
