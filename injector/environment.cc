#include "injector/environment.h"

#include <unistd.h>

namespace injector {

namespace fs = std::filesystem;

fs::path FindHookDirectory() {
  fs::path binary = fs::read_symlink("/proc/self/exe");
  fs::path hook = binary.parent_path().parent_path() / "lib" / "cyclescope";
  for (const char* name : {"_cyclescope.abi3.so", "sitecustomize.py"}) {
    if (!fs::exists(hook / name)) {
      throw Error("the inspector is not installed: " + (hook / name).string() +
                  " is missing; build or install cyclescope again");
    }
  }
  return hook;
}

Environment InspectorEnvironment(const fs::path& hook,
                                 const std::string& inherited,
                                 const std::vector<fs::path>& overlays) {
  Environment variables;
  constexpr char kPrefix[] = "CYCLESCOPE_";
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string text = *entry;
    size_t equals = text.find('=');
    if (equals != std::string::npos && text.starts_with(kPrefix)) {
      variables.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  variables["CYCLESCOPE"] = "1";

  std::string python_path = hook.string();
  for (const fs::path& overlay : overlays) {
    python_path += ":" + overlay.string();
  }
  // An empty PYTHONPATH entry would mean the working directory.
  if (!inherited.empty()) python_path += ":" + inherited;
  variables["PYTHONPATH"] = python_path;
  return variables;
}

}  // namespace injector
