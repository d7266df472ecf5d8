#include "collector/cli/manifest_world.h"

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>

#include "injector/engine.h"

namespace collector {

injector::ManifestWorld ThisMachine() {
  injector::ManifestWorld world;
  world.read_file =
      [](const std::filesystem::path& path) -> std::optional<std::string> {
    std::ifstream file(path, std::ios::binary);
    if (!file || std::filesystem::is_directory(path)) return std::nullopt;
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  world.variable = [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return value;
  };
  using Known = std::map<std::string, std::optional<injector::Environment>>;
  world.image_environment =
      [known = std::make_shared<Known>()](const std::string& image) {
        auto found = known->find(image);
        if (found == known->end()) {
          std::optional<injector::Environment> variables;
          if (auto configuration = injector::FindImage(image)) {
            variables = configuration->environment;
          }
          found = known->emplace(image, std::move(variables)).first;
        }
        return found->second;
      };
  return world;
}

injector::Environment InspectorVariables() {
  injector::Environment variables;
  // Not CYCLESCOPE_DIR: it names a folder of this machine.
  for (const char* name :
       {"CYCLESCOPE_ALLOW", "CYCLESCOPE_AT", "CYCLESCOPE_CHILDREN",
        "CYCLESCOPE_EVERY", "CYCLESCOPE_OUT", "CYCLESCOPE_SIGNAL",
        "CYCLESCOPE_WATCH"}) {
    if (const char* value = std::getenv(name)) variables[name] = value;
  }
  return variables;
}

void PrintWarnings(const std::vector<std::string>& warnings) {
  for (const std::string& warning : warnings) {
    fmt::print(stderr, "cyclescope: {}\n", warning);
  }
}

}  // namespace collector
