#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "injector/manifest.h"
#include "injector/yaml.h"

namespace injector {

struct KubeChanges {
  std::string image;  // The one made by the Containerfile.
  /// Containers to change; where a pod has but one, that one if empty.
  std::vector<std::string> containers;
  /// CYCLESCOPE_* for containers that don't set them themselves.
  Environment variables;
  /// What PYTHONPATH is where the manifest cannot tell: in the image, in a
  /// ConfigMap that is not among the files, by `valueFrom`.
  std::optional<std::string> python_path;
};

/// A strategic-merge patch for one object.
struct KubePatch {
  std::string name;  // KIND-NAMESPACE-NAME in lower case.
  Yaml patch;
};

struct KubePatches {
  std::vector<KubePatch> patches;
  std::vector<std::string> warnings;
};

/// The part of a strategic-merge patch that brings the inspector into a pod
/// template's `spec`: an init container that copies the hook folder into an
/// emptyDir, the mounts, the variables. Knows nothing of the kind around it.
/// `where` names the object in errors; `config_maps` are the `data` of those
/// that the files have, by name. Appends to `warnings` what is not known.
/// Null if the inspector is there already. Throws Error where several
/// containers could be meant, or PYTHONPATH cannot be kept.
Yaml PatchPodSpec(const Yaml& spec, const std::string& where,
                  const KubeChanges& changes,
                  const std::map<std::string, Yaml>& config_maps,
                  const ManifestWorld& world,
                  std::vector<std::string>& warnings);

/// Patches for every object of a kind with a pod template among `documents`,
/// those inside of a List included; for kinds that are not Kubernetes' own
/// (DeploymentConfig, Argo's Rollout) with whole lists, which is right where
/// lists are merged and where they are replaced. Throws Error if there is none.
KubePatches PatchKube(const std::vector<Yaml>& documents,
                      const KubeChanges& changes, const ManifestWorld& world);

}  // namespace injector
