#include "injector/kube.h"

#include <algorithm>
#include <cctype>

namespace injector {

namespace {

constexpr char kPythonPath[] = "PYTHONPATH";
constexpr char kVolume[] = "cyclescope";
constexpr char kSocketVolume[] = "cyclescope-run";
/// Where the init container has the volume; its own copy is at kFolderInside.
constexpr char kInstallFolder[] = "/cyclescope";

const Yaml* Find(const Yaml& map, const std::string& key) {
  if (!map.is_object()) return nullptr;
  auto found = map.find(key);
  return found == map.end() || found->is_null() ? nullptr : &*found;
}

std::string TextOf(const Yaml& map, const std::string& key) {
  const Yaml* found = Find(map, key);
  if (found == nullptr) return "";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

const Yaml& ListOf(const Yaml& map, const std::string& key) {
  static const Yaml kNone = Yaml::array();
  const Yaml* found = Find(map, key);
  return found && found->is_array() ? *found : kNone;
}

const Yaml* Named(const Yaml& list, const std::string& name) {
  for (const Yaml& item : list) {
    if (TextOf(item, "name") == name) return &item;
  }
  return nullptr;
}

/// `a, b`
std::string NamesOf(const Yaml& list) {
  std::string names;
  for (const Yaml& item : list) {
    names += (names.empty() ? "" : ", ") + TextOf(item, "name");
  }
  return names;
}

/// Of a pod's containers those that are meant.
std::vector<const Yaml*> Chosen(const Yaml& containers,
                                const std::string& where,
                                const KubeChanges& changes) {
  std::vector<const Yaml*> chosen;
  for (const std::string& name : changes.containers) {
    if (const Yaml* found = Named(containers, name)) chosen.push_back(found);
  }
  if (!chosen.empty()) return chosen;
  if (containers.size() == 1 && changes.containers.empty()) {
    return {&containers[0]};
  }
  if (containers.empty()) {
    throw Error(where + " has no containers; give a complete manifest");
  }
  throw Error(where + " has the containers " + NamesOf(containers) +
              "; name those with a Python by --container");
}

/// A pod's own `env` alone has `$(NAME)` for other variables.
std::string Escaped(const std::string& text) {
  std::string escaped;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.compare(i, 2, "$(") == 0) escaped += '$';
    escaped += text[i];
  }
  return escaped;
}

/// What PYTHONPATH would be by `envFrom`, the last source first as in a pod.
std::optional<std::string> FromSources(
    const Yaml& container, const std::string& where, const KubeChanges& changes,
    const std::map<std::string, Yaml>& config_maps,
    std::vector<std::string>& warnings) {
  const Yaml& sources = ListOf(container, "envFrom");
  for (size_t i = sources.size(); i-- > 0;) {
    const Yaml* map = Find(sources[i], "configMapRef");
    const Yaml* secret = Find(sources[i], "secretRef");
    std::string name = TextOf(map ? *map : secret ? *secret : Yaml(), "name");
    auto known = config_maps.find(name);
    if (map != nullptr && known != config_maps.end()) {
      std::string prefix = TextOf(sources[i], "prefix");
      for (const auto& [key, value] : known->second.items()) {
        if (prefix + key == kPythonPath) return TextOf(known->second, key);
      }
    } else if (!changes.python_path) {
      warnings.push_back(where + " takes variables from the " +
                         (map ? "ConfigMap " : "Secret ") + name +
                         ", which is not among the files; if it sets "
                         "PYTHONPATH, give its value by --pythonpath");
    }
  }
  return std::nullopt;
}

/// What the container has for PYTHONPATH without us.
std::string PythonPathOf(const Yaml& container, const std::string& where,
                         const KubeChanges& changes,
                         const std::optional<Environment>& image,
                         const std::map<std::string, Yaml>& config_maps,
                         std::vector<std::string>& warnings) {
  const Yaml* own = Named(ListOf(container, "env"), kPythonPath);
  if (own && !Find(*own, "valueFrom")) return TextOf(*own, "value");
  if (own) {
    const Yaml* reference = Find((*own)["valueFrom"], "configMapKeyRef");
    if (reference) {
      auto map = config_maps.find(TextOf(*reference, "name"));
      if (map != config_maps.end()) {
        return Escaped(TextOf(map->second, TextOf(*reference, "key")));
      }
    }
    if (changes.python_path) return Escaped(*changes.python_path);
    throw Error(where + " has PYTHONPATH by valueFrom, which a patch cannot " +
                "put the hook in front of; give its value by --pythonpath");
  }
  if (auto from_map =
          FromSources(container, where, changes, config_maps, warnings)) {
    return Escaped(*from_map);
  }
  if (changes.python_path) return Escaped(*changes.python_path);
  if (image) {
    auto found = image->find(kPythonPath);
    return found == image->end() ? "" : Escaped(found->second);
  }
  warnings.push_back(where + ": whether its image (" +
                     TextOf(container, "image") +
                     ") sets PYTHONPATH is not known, as no engine here has "
                     "it; pull it first, or give its value by --pythonpath");
  return "";
}

std::vector<std::string> WordsOf(const Yaml& container) {
  std::vector<std::string> words;
  for (const char* key : {"command", "args"}) {
    for (const Yaml& word : ListOf(container, key)) {
      if (word.is_string()) words.push_back(word.get<std::string>());
    }
  }
  return words;
}

/// Runs as whom the pod says, and as the container where that says more.
Yaml InitContainer(const Yaml& container, const std::string& image) {
  Yaml security = Yaml::object();
  if (const Yaml* own = Find(container, "securityContext")) {
    for (const char* key : {"runAsUser", "runAsGroup", "runAsNonRoot"}) {
      if (const Yaml* value = Find(*own, key)) security[key] = *value;
    }
  }
  security["allowPrivilegeEscalation"] = false;
  security["capabilities"] = {{"drop", {"ALL"}}};
  security["readOnlyRootFilesystem"] = true;
  security["seccompProfile"] = {{"type", "RuntimeDefault"}};
  Yaml resources = {{"cpu", "100m"}, {"memory", "64Mi"}};
  return {{"name", kVolume},
          {"image", image},
          {"command",
           {std::string(kFolderInside) + "/" + kRelayProgram, "install",
            kInstallFolder}},
          {"resources", {{"limits", resources}, {"requests", resources}}},
          {"securityContext", security},
          {"volumeMounts",
           Yaml::array({{{"name", kVolume}, {"mountPath", kInstallFolder}}})}};
}

Yaml EmptyDir(const std::string& name, const std::string& limit) {
  return {{"name", name}, {"emptyDir", {{"sizeLimit", limit}}}};
}

Yaml Variable(const std::string& name, const std::string& value) {
  return {{"name", name}, {"value", value}};
}

}  // namespace

Yaml PatchPodSpec(const Yaml& spec, const std::string& where,
                  const KubeChanges& changes,
                  const std::map<std::string, Yaml>& config_maps,
                  const ManifestWorld& world,
                  std::vector<std::string>& warnings) {
  if (Named(ListOf(spec, "initContainers"), kVolume)) {
    warnings.push_back(where + " has the inspector already");
    return nullptr;
  }
  Yaml containers = Yaml::array();
  Yaml volumes = Yaml::array({EmptyDir(kVolume, "64Mi")});
  std::vector<const Yaml*> chosen =
      Chosen(ListOf(spec, "containers"), where, changes);
  for (const Yaml* container : chosen) {
    std::string name = TextOf(*container, "name");
    std::string here = where + " container " + name;
    const Yaml& own = ListOf(*container, "env");
    std::optional<Environment> image =
        world.image_environment(TextOf(*container, "image"));

    Yaml mounts = Yaml::array({{{"name", kVolume},
                                {"mountPath", kFolderInside},
                                {"readOnly", true}}});
    Environment variables = changes.variables;
    if (!Named(own, "CYCLESCOPE_DIR") &&
        variables.emplace("CYCLESCOPE_DIR", kSocketFolderInside).second) {
      // One for each: the containers of a pod may all have a process 1.
      std::string volume = kSocketVolume;
      if (volumes.size() > 1) volume += "-" + std::to_string(volumes.size());
      // A pod that passes the limit is evicted, and reports may lie there.
      volumes.push_back(EmptyDir(volume, "1Gi"));
      mounts.push_back({{"name", volume}, {"mountPath", kSocketFolderInside}});
    }
    std::string before =
        PythonPathOf(*container, here, changes, image, config_maps, warnings);
    const Yaml* own_path = Named(own, kPythonPath);
    Yaml env = Yaml::array();
    if (own_path &&
        TextOf(*own_path, "value").find("$(") != std::string::npos) {
      // A patch's variables come first, and `$(NAME)` needs NAME before it.
      for (const Yaml* one = &own[0]; one != own_path; ++one) {
        env.push_back(*one);
      }
    }
    for (const auto& [variable, value] : variables) {
      if (!Named(own, variable))
        env.push_back(Variable(variable, Escaped(value)));
    }
    Yaml path = Variable(kPythonPath, WithHook(before));
    if (own_path && Find(*own_path, "valueFrom")) path["valueFrom"] = nullptr;
    env.push_back(path);
    containers.push_back(
        {{"name", name}, {"env", env}, {"volumeMounts", mounts}});
    std::string flag = IgnoresEnvironment(WordsOf(*container));
    if (!flag.empty()) {
      warnings.push_back(here + ": its command starts Python with " + flag +
                         ", which ignores PYTHONPATH; the inspector will not "
                         "be in it");
    }
  }
  return {{"initContainers",
           Yaml::array({InitContainer(*chosen.front(), changes.image)})},
          {"containers", containers},
          {"volumes", volumes}};
}

namespace {

/// A kind with a pod template.
struct Kind {
  std::vector<std::string> spec;  // The way to the pod's spec.
  /// Kubernetes' own: kustomize merges its lists by name. Of others it
  /// replaces them.
  bool merged = true;
};

const std::map<std::string, Kind>& Kinds() {
  static const std::vector<std::string> kTemplate = {"spec", "template",
                                                     "spec"};
  static const std::map<std::string, Kind> kKinds = {
      {"Pod", {{"spec"}}},
      {"Deployment", {kTemplate}},
      {"StatefulSet", {kTemplate}},
      {"DaemonSet", {kTemplate}},
      {"ReplicaSet", {kTemplate}},
      {"ReplicationController", {kTemplate}},
      {"Job", {kTemplate}},
      {"CronJob", {{"spec", "jobTemplate", "spec", "template", "spec"}}},
      {"DeploymentConfig", {kTemplate, false}},
      {"Rollout", {kTemplate, false}}};
  return kKinds;
}

/// Kinds with pods in them that have no pod template.
bool HasPodsOtherwise(const std::string& kind) {
  return kind == "ClowdApp" || kind == "Template";
}

/// `list` and what `added` has besides, by `key`.
Yaml Joined(Yaml list, const Yaml& added, const char* key) {
  for (const Yaml& item : added) {
    bool there = false;
    for (const Yaml& one : list) there |= TextOf(one, key) == TextOf(item, key);
    if (!there) list.push_back(item);
  }
  return list;
}

/// The strategic-merge patch with the whole lists that it leads to.
Yaml WithWholeLists(const Yaml& spec, const Yaml& patch) {
  Yaml containers = ListOf(spec, "containers");
  for (Yaml& container : containers) {
    const Yaml* change = Named(patch["containers"], TextOf(container, "name"));
    if (change == nullptr) continue;
    Yaml env = Joined((*change)["env"], ListOf(container, "env"), "name");
    for (Yaml& variable : env) {
      if (!Find(variable, "valueFrom")) variable.erase("valueFrom");
    }
    container["env"] = std::move(env);
    container["volumeMounts"] = Joined(ListOf(container, "volumeMounts"),
                                       (*change)["volumeMounts"], "mountPath");
  }
  return {
      {"initContainers",
       Joined(patch["initContainers"], ListOf(spec, "initContainers"), "name")},
      {"containers", containers},
      {"volumes", Joined(ListOf(spec, "volumes"), patch["volumes"], "name")}};
}

/// The objects in a List one by one.
void Flatten(const Yaml& document, std::vector<Yaml>& objects) {
  std::string kind = TextOf(document, "kind");
  if (kind == "List" || (kind.ends_with("List") && Find(document, "items"))) {
    for (const Yaml& item : ListOf(document, "items")) Flatten(item, objects);
  } else if (document.is_object()) {
    objects.push_back(document);
  }
}

KubePatch PatchObject(const Yaml& object, const std::string& kind,
                      const KubeChanges& changes,
                      const std::map<std::string, Yaml>& config_maps,
                      const ManifestWorld& world,
                      std::vector<std::string>& warnings) {
  static const Yaml kNone = Yaml::object();
  const Yaml* metadata = Find(object, "metadata");
  std::string name = TextOf(metadata ? *metadata : kNone, "name");
  if (name.empty()) {
    throw Error("a " + kind +
                " has no metadata.name, by which a patch would find it; give "
                "it a name");
  }
  const std::vector<std::string>& path = Kinds().at(kind).spec;
  const Yaml* spec = &object;
  for (const std::string& key : path) {
    const Yaml* inner = Find(*spec, key);
    spec = inner ? inner : &kNone;
  }
  Yaml patch = PatchPodSpec(*spec, kind + " " + name, changes, config_maps,
                            world, warnings);
  if (patch.is_null()) return {};
  if (!Kinds().at(kind).merged) patch = WithWholeLists(*spec, patch);
  for (size_t i = path.size(); i-- > 0;) {
    Yaml outer = Yaml::object();
    outer[path[i]] = std::move(patch);
    patch = std::move(outer);
  }
  Yaml whole = {{"apiVersion", TextOf(object, "apiVersion")}, {"kind", kind}};
  whole["metadata"]["name"] = name;
  std::string space = TextOf(*metadata, "namespace");
  if (!space.empty()) whole["metadata"]["namespace"] = space;
  whole["spec"] = std::move(patch["spec"]);
  std::string file = kind + (space.empty() ? "" : "-" + space) + "-" + name;
  for (char& c : file) {
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return {file, std::move(whole)};
}

}  // namespace

KubePatches PatchKube(const std::vector<Yaml>& documents,
                      const KubeChanges& changes, const ManifestWorld& world) {
  std::vector<Yaml> objects;
  for (const Yaml& document : documents) Flatten(document, objects);
  std::map<std::string, Yaml> config_maps;
  for (const Yaml& object : objects) {
    if (TextOf(object, "kind") != "ConfigMap") continue;
    const Yaml* metadata = Find(object, "metadata");
    const Yaml* data = Find(object, "data");
    if (metadata && data) config_maps[TextOf(*metadata, "name")] = *data;
  }
  KubePatches result;
  bool found = false;
  for (const Yaml& object : objects) {
    std::string kind = TextOf(object, "kind");
    if (Kinds().contains(kind)) {
      found = true;
      KubePatch patch = PatchObject(object, kind, changes, config_maps, world,
                                    result.warnings);
      if (!patch.name.empty()) result.patches.push_back(std::move(patch));
    } else if (HasPodsOtherwise(kind)) {
      result.warnings.push_back("a " + kind +
                                " is left alone: it has no pod template that "
                                "a patch could change");
    }
  }
  if (!found) {
    throw Error(
        "there is no Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, "
        "CronJob or DeploymentConfig in what was given; give the manifest that "
        "has one");
  }
  return result;
}

}  // namespace injector
