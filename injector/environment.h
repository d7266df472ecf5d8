#pragma once

#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace injector {

/// What could not be found or reached in a Python process, why, and what to
/// do, in one sentence.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Where `compose` and `kube` put the folder of FindHookDirectory in
/// containers.
inline constexpr char kFolderInside[] = "/opt/cyclescope";

/// In that folder the program that carries requests over stdin and stdout.
inline constexpr char kRelayProgram[] = "cyclescope-relay";

/// Names and values; what is not named is left as it is.
using Environment = std::map<std::string, std::string>;

/// The folder with `_cyclescope.abi3.so` and `sitecustomize.py`, found from
/// the running binary: `<bindir>/../lib/cyclescope`. Throws Error if either
/// file is missing.
std::filesystem::path FindHookDirectory();

/// The variables that load the inspector into every Python started with them:
/// `PYTHONPATH` with the hook first, then `overlays` in their order, then what
/// `inherited` (the caller's PYTHONPATH, may be empty) holds; `CYCLESCOPE=1`;
/// and the `CYCLESCOPE_*` variables of this process, as they are.
Environment InspectorEnvironment(
    const std::filesystem::path& hook, const std::string& inherited,
    const std::vector<std::filesystem::path>& overlays = {});

}  // namespace injector
