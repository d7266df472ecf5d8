#include "injector/compose.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <sstream>

#include "injector/yaml.h"

namespace injector {

namespace fs = std::filesystem;

namespace {

std::string Text(const Yaml& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::vector<std::string> Words(const Yaml& value) {
  std::vector<std::string> words;
  if (value.is_string()) {
    std::istringstream text(value.get<std::string>());
    for (std::string word; text >> word;) words.push_back(word);
  } else if (value.is_array()) {
    for (const Yaml& word : value) words.push_back(Text(word));
  }
  return words;
}

const Yaml* Find(const Yaml& map, const std::string& key) {
  if (!map.is_object()) return nullptr;
  auto found = map.find(key);
  return found == map.end() || found->is_null() ? nullptr : &*found;
}

std::string TextOf(const Yaml& map, const std::string& key,
                   const std::string& otherwise) {
  const Yaml* found = Find(map, key);
  return found ? Text(*found) : otherwise;
}

/// Compose often takes one in place of a list.
Yaml List(const Yaml& value) {
  if (value.is_null()) return Yaml::array();
  return value.is_array() ? value : Yaml::array({value});
}

/// `$$` stands for the sign itself.
std::string Escaped(const std::string& text) {
  std::string escaped;
  for (char c : text) escaped += c == '$' ? std::string("$$") : std::string{c};
  return escaped;
}

/// Makes one model of all files, in which a service's `environment` is a map,
/// its `env_file` a list of {path, required} with full paths, and `volumes` a
/// list.
class Model {
 public:
  Model(const std::vector<fs::path>& files, const ManifestWorld& world)
      : world_(world), folder_(FolderOf(files.front())) {
    if (auto text = world_.read_file(folder_ / ".env")) {
      defaults_ = ReadEnvironmentFile(*text);
    }
    Yaml unextended = Yaml::object();
    for (const fs::path& file : files) {
      Yaml services = ReadServices(file, folder_, &top_);
      Merge(unextended, services);
      // Those of earlier files may be extended, too, where no other has it.
      Yaml siblings = services_;
      for (const auto& [name, service] : services.items()) {
        siblings[name] = service;
      }
      Merge(services_, AllExtended(services, siblings));
    }
    merged_first_ = AllExtended(unextended, unextended);
  }

  /// `extends` resolved in each file, then all merged: docker compose's way.
  const Yaml& services() const { return services_; }
  /// All merged, then `extends` resolved: podman-compose's way.
  const Yaml& services_merged_first() const { return merged_first_; }
  const Yaml& top() const { return top_; }

  /// With variables put in; nullopt where a form is used that is not known
  /// here.
  std::optional<std::string> Interpolated(const std::string& text) const {
    std::string result;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '$') {
        result += text[i];
        continue;
      }
      if (text[i + 1] == '$') {
        result += text[++i];
        continue;
      }
      bool braced = text[i + 1] == '{';
      size_t begin = i + (braced ? 2 : 1), end = begin;
      while (end < text.size() &&
             (std::isalnum(static_cast<unsigned char>(text[end])) ||
              text[end] == '_')) {
        ++end;
      }
      std::optional<std::string> value =
          Variable(text.substr(begin, end - begin));
      if (!braced) {
        result += value.value_or("");
        i = end - 1;
        continue;
      }
      size_t close = text.find('}', end);
      if (close == std::string::npos) return std::nullopt;
      std::string rest = text.substr(end, close - end);
      if (rest.starts_with(":-")) {
        bool given = value && !value->empty();
        result += given ? *value : rest.substr(2);
      } else if (rest.starts_with("-")) {
        result += value.value_or(rest.substr(1));
      } else if (rest.empty()) {
        result += value.value_or("");
      } else {
        return std::nullopt;
      }
      i = close;
    }
    return result;
  }

  /// The project's name, as both composes make it of the folder's.
  std::string Project() const {
    std::string name = Variable("COMPOSE_PROJECT_NAME").value_or("");
    if (const Yaml* given = Find(top_, "name"); name.empty() && given) {
      name = Interpolated(Text(*given)).value_or("");
    }
    if (name.empty()) name = folder_.filename().string();
    std::string plain;
    for (unsigned char c : name) {
      if (std::isalnum(c) || c == '_' || c == '-') {
        plain += static_cast<char>(std::tolower(c));
      }
    }
    return plain;
  }

 private:
  static fs::path FolderOf(const fs::path& file) {
    return fs::absolute(file).lexically_normal().parent_path();
  }

  std::optional<std::string> Variable(const std::string& name) const {
    if (auto value = world_.variable(name)) return value;
    auto found = defaults_.find(name);
    if (found == defaults_.end()) return std::nullopt;
    return found->second;
  }

  /// The services of one file, in one form; `top` gets the rest of it.
  Yaml ReadServices(const fs::path& file, const fs::path& folder, Yaml* top) {
    std::optional<std::string> text = world_.read_file(file);
    if (!text) {
      throw Error(file.string() +
                  ": cannot be read; give the compose files as you give them "
                  "to podman compose by -f");
    }
    std::vector<Yaml> documents = ReadYaml(*text, file.string());
    Yaml services = Yaml::object();
    for (Yaml& document : documents) {
      const Yaml* found = Find(document, "services");
      if (!document.is_object() || (found && !found->is_object())) {
        throw Error(file.string() +
                    ": is not a compose file; give the file that podman "
                    "compose takes by -f");
      }
      if (found) Merge(services, *found);
      document.erase("services");
      if (top != nullptr) Merge(*top, document);
    }
    for (auto& [name, service] : services.items()) Normalize(service, folder);
    return services;
  }

  void Normalize(Yaml& service, const fs::path& folder) {
    if (service.contains("!override")) service = Yaml(service["!override"]);
    if (!service.is_object()) {
      service = Yaml::object();
      return;
    }
    for (auto& [key, value] : service.items()) {
      bool overrides = value.is_object() && value.contains("!override");
      Yaml& inner = overrides ? value["!override"] : value;
      if (inner.is_object() && inner.contains("!reset")) continue;
      if (key == "environment") inner = EnvironmentMap(inner);
      if (key == "env_file") inner = EnvironmentFiles(inner, folder);
      if (key == "volumes") inner = List(inner);
    }
  }

  static Yaml EnvironmentMap(const Yaml& value) {
    Yaml map = Yaml::object();
    if (value.is_array()) {
      for (const Yaml& item : value) {
        std::string text = Text(item);
        size_t equals = text.find('=');
        if (equals == std::string::npos) {
          map[text] = nullptr;
        } else {
          map[text.substr(0, equals)] = text.substr(equals + 1);
        }
      }
    } else if (value.is_object()) {
      for (const auto& [name, item] : value.items()) {
        map[name] = item.is_null() ? Yaml() : Yaml(Text(item));
      }
    }
    return map;
  }

  Yaml EnvironmentFiles(const Yaml& value, const fs::path& folder) const {
    Yaml list = Yaml::array();
    for (const Yaml& item : List(value)) {
      std::string path =
          item.is_object() ? TextOf(item, "path", "") : Text(item);
      path = Interpolated(path).value_or(path);
      const Yaml* required = Find(item, "required");
      list.push_back({{"path", (folder / path).lexically_normal().string()},
                      {"required", required == nullptr || *required != false}});
    }
    return list;
  }

  /// As compose merges: maps by key, lists one after the other, else the later
  /// counts.
  static void Merge(Yaml& target, const Yaml& source) {
    if (!source.is_object()) return;
    if (!target.is_object()) target = Yaml::object();
    for (const auto& [key, value] : source.items()) {
      if (value.is_object() && value.contains("!reset")) {
        target.erase(key);
      } else if (value.is_object() && value.contains("!override")) {
        target[key] = value["!override"];
      } else if (value.is_object() && target.contains(key)) {
        Merge(target[key], value);
      } else if (value.is_array() && key != "command" && key != "entrypoint" &&
                 target.contains(key) && target[key].is_array()) {
        for (const Yaml& item : value) target[key].push_back(item);
      } else if (!value.is_null() || !target.contains(key) ||
                 !target[key].is_structured()) {
        // Null is a value, too: of a variable that is passed on.
        target[key] = value;
      }
    }
  }

  Yaml AllExtended(const Yaml& services, const Yaml& siblings) {
    Yaml extended = Yaml::object();
    for (const auto& [name, service] : services.items()) {
      std::set<std::string> seen;
      extended[name] = Extended(name, service, siblings, folder_, seen);
    }
    return extended;
  }

  /// The service on top of what it extends.
  Yaml Extended(const std::string& name, const Yaml& service,
                const Yaml& siblings, const fs::path& folder,
                std::set<std::string>& seen) {
    const Yaml* extends = Find(service, "extends");
    if (extends == nullptr) return service;
    std::string base = extends->is_string() ? Text(*extends)
                                            : TextOf(*extends, "service", name);
    const Yaml* file = Find(*extends, "file");
    fs::path path;
    Yaml others;
    if (file != nullptr) {
      path = (folder / Interpolated(Text(*file)).value_or(Text(*file)))
                 .lexically_normal();
      others = ReadServices(path, path.parent_path(), nullptr);
    }
    const Yaml& there = file ? others : siblings;
    const Yaml* found = Find(there, base);
    if (found == nullptr) {
      throw Error("service " + name + " extends " + base + ", which " +
                  (file ? path.string() : std::string("no file")) +
                  " has; mend the compose file");
    }
    if (!seen.insert(path.string() + " " + base).second) {
      throw Error("service " + name + " extends itself by way of " + base +
                  "; mend the compose file");
    }
    Yaml result =
        Extended(base, *found, there, file ? path.parent_path() : folder, seen);
    Merge(result, service);
    result.erase("extends");
    return result;
  }

  const ManifestWorld& world_;
  fs::path folder_;
  Environment defaults_;
  Yaml top_ = Yaml::object();
  Yaml services_ = Yaml::object();
  Yaml merged_first_;
};

/// What it mounts by `volumes` and `tmpfs`: the source by the place inside.
std::map<std::string, std::string> MountsOf(const Yaml& service) {
  std::map<std::string, std::string> mounts;
  auto add = [&mounts](const Yaml& item, bool tmpfs) {
    if (item.is_object()) {
      mounts[TextOf(item, "target", "")] =
          TextOf(item, "source", TextOf(item, "type", ""));
      return;
    }
    std::string text = Text(item);
    size_t colon = text.find(':');
    if (tmpfs || colon == std::string::npos) {
      mounts[text.substr(0, colon)] = tmpfs ? "tmpfs" : "";
      return;
    }
    size_t end = text.find(':', colon + 1);
    if (end == std::string::npos) end = text.size();
    mounts[text.substr(colon + 1, end - colon - 1)] = text.substr(0, colon);
  };
  for (const char* key : {"volumes", "tmpfs"}) {
    const Yaml* list = Find(service, key);
    if (list == nullptr) continue;
    for (const Yaml& item : List(*list)) {
      add(item, key == std::string("tmpfs"));
    }
  }
  return mounts;
}

ComposeService Describe(const std::string& name, const Yaml& yaml,
                        const Model& model, const ManifestWorld& world,
                        std::vector<std::string>& warnings) {
  ComposeService service;
  service.name = name;
  if (const Yaml* image = Find(yaml, "image")) {
    if (auto text = model.Interpolated(Text(*image))) {
      service.images.push_back(*text);
    }
  } else {
    service.images = {model.Project() + "-" + name,
                      model.Project() + "_" + name};
  }
  if (const Yaml* environment = Find(yaml, "environment")) {
    for (const auto& [variable, value] : environment->items()) {
      service.environment[variable] =
          value.is_null() ? std::nullopt : std::optional(Text(value));
    }
  }
  if (const Yaml* files = Find(yaml, "env_file")) {
    for (const Yaml& file : *files) {
      std::string path = file["path"];
      if (auto text = world.read_file(path)) {
        for (auto& [key, value] : ReadEnvironmentFile(*text)) {
          service.files[key] = value;
        }
      } else if (file["required"].get<bool>()) {
        warnings.push_back("service " + name + ": its env_file " + path +
                           " cannot be read; a PYTHONPATH in it is lost");
      }
    }
  }
  for (const char* key : {"entrypoint", "command"}) {
    if (const Yaml* value = Find(yaml, key)) {
      for (std::string& word : Words(*value)) {
        service.words.push_back(std::move(word));
      }
    }
  }
  service.mounts = MountsOf(yaml);
  return service;
}

std::optional<Environment> ImageEnvironment(const ComposeService& service,
                                            const ManifestWorld& world) {
  for (const std::string& image : service.images) {
    if (auto variables = world.image_environment(image)) return variables;
  }
  return std::nullopt;
}

/// What a service has for PYTHONPATH without us, as compose's text.
std::string PythonPathOf(const ComposeService& service,
                         const std::optional<Environment>& image,
                         const ComposeChanges& changes,
                         std::vector<std::string>& warnings) {
  constexpr char kName[] = "PYTHONPATH";
  auto given = service.environment.find(kName);
  if (given != service.environment.end()) {
    if (given->second) return *given->second;
    warnings.push_back(
        "service " + service.name +
        ": hands PYTHONPATH on without a value, which docker compose can "
        "override and podman-compose (up to 1.6) cannot; for that write "
        "PYTHONPATH=${PYTHONPATH} in the compose file");
    // Where the caller has none there is none, the image's own included.
    return "${PYTHONPATH}";
  }
  if (auto file = service.files.find(kName); file != service.files.end()) {
    if (file->second.find('$') != std::string::npos) {
      warnings.push_back("service " + service.name +
                         ": PYTHONPATH of its env_file has a $; compose puts "
                         "variables in where podman would not");
    }
    return file->second;
  }
  if (changes.python_path) return Escaped(*changes.python_path);
  if (image) {
    auto in_image = image->find(kName);
    return in_image == image->end() ? "" : Escaped(in_image->second);
  }
  warnings.push_back(
      "service " + service.name + ": whether its image" +
      (service.images.empty() ? "" : " (" + service.images[0] + ")") +
      " sets PYTHONPATH is not known, as no engine here has it; build or "
      "pull it first, or give its value by --pythonpath");
  return "";
}

/// What the project's files say of a variable.
std::optional<std::string> Own(const ComposeService& service,
                               const std::string& name) {
  auto given = service.environment.find(name);
  if (given != service.environment.end()) return given->second;
  auto in_file = service.files.find(name);
  if (in_file != service.files.end()) return in_file->second;
  return std::nullopt;
}

bool Sets(const ComposeService& service,
          const std::optional<Environment>& image, const std::string& name) {
  return service.environment.contains(name) || service.files.contains(name) ||
         (image && image->contains(name));
}

/// Whether the mount must be added; throws if something else is there.
bool IsMissing(const ComposeService& service, const std::string& destination,
               const std::string& source) {
  auto found = service.mounts.find(destination);
  if (found == service.mounts.end()) return true;
  if (found->second == source) return false;
  throw Error("service " + service.name + " has something else mounted at " +
              destination + " (" + found->second +
              "), where cyclescope would mount " + source +
              "; leave that place free");
}

Yaml BindVolume(const BindMount& mount) {
  for (const std::string& path : {mount.source, mount.destination}) {
    if (path.find(':') != std::string::npos) {
      throw Error("mount " + path +
                  ": a path with a colon cannot be mounted by compose; move or "
                  "link it to another");
    }
  }
  return Escaped(mount.source) + ":" + Escaped(mount.destination) + ":ro,z";
}

Yaml Additions(const ComposeService& service, const ComposeChanges& changes,
               const ManifestWorld& world, std::vector<std::string>& warnings) {
  std::optional<Environment> image = ImageEnvironment(service, world);
  Yaml environment = Yaml::object();
  Yaml volumes = Yaml::array();
  if (IsMissing(service, kFolderInside, changes.hook)) {
    volumes.push_back(BindVolume({changes.hook, kFolderInside}));
  }
  auto mounts = changes.mounts.find(service.name);
  if (mounts != changes.mounts.end()) {
    for (const BindMount& mount : mounts->second) {
      if (IsMissing(service, mount.destination, mount.source)) {
        volumes.push_back(BindVolume(mount));
      }
    }
  }
  Environment variables = changes.variables;
  if (!Sets(service, image, "CYCLESCOPE_DIR") &&
      variables.emplace("CYCLESCOPE_DIR", kSocketFolderInside).second &&
      IsMissing(service, kSocketFolderInside, "tmpfs")) {
    // In memory and of the container: written by any user, also where the root
    // is read-only, and never shared by two services' sockets. It counts as the
    // container's memory, so that reports may fill but a little.
    volumes.push_back({{"type", "tmpfs"},
                       {"target", kSocketFolderInside},
                       {"tmpfs", {{"size", 16 << 20}}}});
  }
  for (const auto& [name, value] : variables) {
    if (!Sets(service, image, name)) environment[name] = Escaped(value);
  }
  std::string before = PythonPathOf(service, image, changes, warnings);
  auto own = service.environment.find("PYTHONPATH");
  std::string path = WithHook(before);
  if (own == service.environment.end() || own->second != path) {
    environment["PYTHONPATH"] = path;
  }
  std::string flag = IgnoresEnvironment(service.words);
  if (!flag.empty()) {
    warnings.push_back("service " + service.name + ": its command starts " +
                       "Python with " + flag +
                       ", which ignores PYTHONPATH; the inspector will not be "
                       "in it");
  }
  Yaml additions = Yaml::object();
  if (!environment.empty()) additions["environment"] = environment;
  if (!volumes.empty()) additions["volumes"] = volumes;
  return additions;
}

}  // namespace

ComposeProject ReadCompose(const std::vector<fs::path>& files,
                           const ManifestWorld& world) {
  Model model(files, world);
  ComposeProject project;
  if (const Yaml* version = Find(model.top(), "version")) {
    project.version = Text(*version);
  }
  if (model.top().contains("include")) {
    project.warnings.push_back(
        "services of included files are not looked at; give those files too");
  }
  for (const auto& [name, yaml] : model.services().items()) {
    if (!Find(yaml, "image") && !Find(yaml, "build")) continue;
    project.services.push_back(
        Describe(name, yaml, model, world, project.warnings));
    std::vector<std::string> said_already;
    ComposeService other = Describe(name, model.services_merged_first()[name],
                                    model, world, said_already);
    const ComposeService& service = project.services.back();
    if (Own(service, "PYTHONPATH") != Own(other, "PYTHONPATH")) {
      project.warnings.push_back(
          "service " + name +
          " extends one that another file changes: PYTHONPATH is kept as "
          "docker compose reads it, podman-compose reads it otherwise");
    }
  }
  if (project.services.empty()) {
    throw Error(files.front().string() +
                ": has no service with an image or a build; give the file that "
                "podman compose takes by -f");
  }
  return project;
}

std::string ComposeOverride(ComposeProject& project,
                            const std::vector<std::string>& services,
                            const ComposeChanges& changes,
                            const ManifestWorld& world) {
  Yaml added = Yaml::object();
  for (const ComposeService& service : project.services) {
    if (std::find(services.begin(), services.end(), service.name) ==
        services.end()) {
      continue;
    }
    Yaml additions = Additions(service, changes, world, project.warnings);
    if (!additions.empty()) added[service.name] = additions;
  }
  Yaml document = Yaml::object();
  if (!project.version.empty()) document["version"] = project.version;
  document["services"] = added;
  return WriteYaml(document);
}

}  // namespace injector
