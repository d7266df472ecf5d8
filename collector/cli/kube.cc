#include "injector/kube.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <iostream>
#include <iterator>

#include "collector/cli/manifest_world.h"
#include "collector/cli/options.h"
#include "collector/cli/verbs.h"
#include "collector/error.h"
#include "collector/store/files.h"

namespace collector {

namespace fs = std::filesystem;

namespace {

struct KubeOptions {
  std::vector<std::string> files;
  injector::KubeChanges changes;
  std::string output;
};

/// Says whose folder it is.
constexpr char kMarker[] = "# Made by `cyclescope kube`.\n";

/// The folder must be new, empty or an earlier one of ours.
void PrepareOutput(const fs::path& output) {
  if (fs::exists(output) &&
      (!fs::is_directory(output) || !fs::is_empty(output))) {
    fs::path kustomization = output / "kustomization.yaml";
    if (!fs::exists(kustomization) ||
        !ReadFileWhole(kustomization).starts_with(kMarker)) {
      throw Error(
          fmt::format("--output {}: holds other files; give a new "
                      "folder",
                      output.string()));
    }
  }
  MakeOutputFolder(output);
}

/// The manifests as they are, the patches, and a kustomization of both.
void WriteKustomization(const fs::path& output, const std::string& manifests,
                        const std::vector<injector::KubePatch>& patches) {
  PrepareOutput(output);
  injector::Yaml kustomization = {
      {"apiVersion", "kustomize.config.k8s.io/v1beta1"},
      {"kind", "Kustomization"},
      {"resources", {"manifest.yaml"}},
      {"patches", injector::Yaml::array()}};
  WriteFileWhole(output / "kustomization.yaml", kMarker);
  WriteFileWhole(output / "manifest.yaml", manifests);
  for (const injector::KubePatch& patch : patches) {
    std::string name = patch.name + ".yaml";
    WriteFileWhole(output / name, injector::WriteYaml(patch.patch));
    kustomization["patches"].push_back({{"path", name}});
  }
  WriteFileWhole(output / "kustomization.yaml",
                 kMarker + injector::WriteYaml(kustomization));
}

void PrintPatches(const KubeOptions& options) {
  injector::ManifestWorld world = ThisMachine();
  std::vector<injector::Yaml> documents;
  std::string manifests;
  for (const std::string& file : options.files) {
    std::string text =
        file == "-" ? std::string(std::istreambuf_iterator<char>(std::cin), {})
                    : ReadFileWhole(file);
    for (injector::Yaml& document :
         injector::ReadYaml(text, file == "-" ? "stdin" : file)) {
      documents.push_back(std::move(document));
    }
    manifests += (manifests.empty() ? "" : "\n---\n") + text;
  }
  injector::KubePatches result =
      injector::PatchKube(documents, options.changes, world);
  if (!options.output.empty()) {
    WriteKustomization(options.output, manifests, result.patches);
  } else {
    std::vector<std::string> texts;
    for (const injector::KubePatch& patch : result.patches) {
      texts.push_back(injector::WriteYaml(patch.patch));
    }
    fmt::print("{}", fmt::join(texts, "---\n"));
  }
  PrintWarnings(result.warnings);
  if (!options.output.empty()) {
    fmt::print(stderr,
               "cyclescope: the inspector comes into {} by: kubectl apply -k "
               "{}\n",
               result.patches.size() == 1
                   ? result.patches[0].name
                   : fmt::format("{} objects", result.patches.size()),
               options.output);
  }
}

}  // namespace

void AddKube(CLI::App& app, int*) {
  auto options = std::make_shared<KubeOptions>();
  options->changes.image = "localhost/cyclescope:" CYCLESCOPE_VERSION;
  CLI::App* verb = app.add_subcommand(
      "kube",
      "Prints patches for Kubernetes and OpenShift manifests that bring "
      "the inspector into pods");
  verb->add_option("FILE", options->files, "The manifests; - is stdin")
      ->required();
  Repeatable(verb->add_option(
      "--container", options->changes.containers,
      "Containers with a Python, where a pod has several (repeatable)"));
  verb->add_option("--image", options->changes.image,
                   "The image with the inspector, as the cluster can pull it; "
                   "`make image` builds it")
      ->capture_default_str();
  verb->add_option("--pythonpath", options->changes.python_path,
                   "What PYTHONPATH is, where it comes of the image or of a "
                   "ConfigMap that cannot be read here");
  verb->add_option("--output", options->output,
                   "Folder for the manifests, the patches and a "
                   "kustomization.yaml of both");
  verb->footer(
      "Example: cyclescope kube deployment.yaml --image REGISTRY/cyclescope "
      "--output inspected\n"
      "         kubectl apply -k inspected\n"
      "         oc get deployment app -o yaml | cyclescope kube - > "
      "patch.yaml");
  verb->callback([options] { PrintPatches(*options); });
}

}  // namespace collector
