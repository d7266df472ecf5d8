#include "injector/kube.h"

#include <gmock/gmock.h>

namespace injector {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class KubeTest : public testing::Test {
 protected:
  KubeTest() {
    world_.image_environment =
        [this](const std::string& image) -> std::optional<Environment> {
      auto found = images_.find(image);
      if (found == images_.end()) return std::nullopt;
      return found->second;
    };
    changes_.image = "registry/cyclescope:1";
  }

  const KubePatches& Patches(const std::string& text) {
    result_ = PatchKube(ReadYaml(text, "k.yml"), changes_, world_);
    return result_;
  }

  /// The variables that the only container of a pod gets.
  Yaml Variables(const std::string& container) {
    return Patches("{kind: Pod, metadata: {name: p}, spec: {containers: [" +
                   container + "]}}")
        .patches.at(0)
        .patch["spec"]["containers"][0]["env"];
  }

  std::string PythonPath(const std::string& container) {
    return Variables(container).back()["value"];
  }

  std::string Refusal(const std::string& text) {
    try {
      Patches(text);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  std::map<std::string, Environment> images_ = {{"i", {}}};
  ManifestWorld world_;
  KubeChanges changes_;
  KubePatches result_;
};

TEST_F(KubeTest, FindsThePodOfEveryKind) {
  const std::string pod = "spec: {containers: [{name: c, image: i}]}";
  const std::string in_template = "spec: {template: {" + pod + "}}";
  auto object = [](const std::string& kind, const std::string& rest) {
    return "{apiVersion: v, kind: " + kind + ", metadata: {name: n}, " + rest +
           "}\n---\n";
  };
  std::string text =
      object("Pod", pod) + "{kind: ConfigMap}\n---\n" +
      object("CronJob", "spec: {jobTemplate: {" + in_template + "}}");
  for (const char* kind :
       {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job",
        "ReplicationController", "DeploymentConfig", "Rollout"}) {
    text += object(kind, in_template);
  }
  const KubePatches& result = Patches(text);
  ASSERT_EQ(result.patches.size(), 10u);
  EXPECT_THAT(result.warnings, IsEmpty());
  EXPECT_EQ(result.patches[0].patch["spec"]["containers"][0]["name"], "c");
  EXPECT_EQ(result.patches[1].patch["spec"]["jobTemplate"]["spec"]["template"]
                                   ["spec"]["containers"][0]["name"],
            "c");
  EXPECT_EQ(result.patches[2].name, "deployment-n");
}

TEST_F(KubeTest, ListsAreTakenApart) {
  EXPECT_EQ(Patches("{kind: List, items: [{kind: Pod, metadata: {name: a, "
                    "namespace: s}, spec: {containers: [{name: c, image: "
                    "i}]}}, {kind: Service}]}")
                .patches.at(0)
                .patch["metadata"],
            (Yaml{{"name", "a"}, {"namespace", "s"}}));
}

TEST_F(KubeTest, TheInitContainerMayDoNothingAndRunsAsTheContainerDoes) {
  Yaml init = Patches(
                  "{kind: Pod, metadata: {name: p}, spec: {containers: [{name: "
                  "c, image: i, securityContext: {runAsUser: 1001, "
                  "runAsNonRoot: true, capabilities: {add: [NET_RAW]}}}]}}")
                  .patches.at(0)
                  .patch["spec"]["initContainers"][0];
  EXPECT_EQ(init["securityContext"],
            (Yaml{{"runAsUser", 1001},
                  {"runAsNonRoot", true},
                  {"allowPrivilegeEscalation", false},
                  {"capabilities", {{"drop", {"ALL"}}}},
                  {"readOnlyRootFilesystem", true},
                  {"seccompProfile", {{"type", "RuntimeDefault"}}}}));
  EXPECT_EQ(init["image"], "registry/cyclescope:1");
  EXPECT_TRUE(init["resources"].contains("limits"));
}

TEST_F(KubeTest, KeepsPythonPathOfManifestConfigMapAndImage) {
  EXPECT_EQ(PythonPath("{name: c, image: i, env: [{name: PYTHONPATH, value: "
                       "/a}]}"),
            "/opt/cyclescope:/a");
  images_["i"] = {{"PYTHONPATH", "/image/$(x)"}};
  EXPECT_EQ(PythonPath("{name: c, image: i}"), "/opt/cyclescope:/image/$$(x)");
  EXPECT_EQ(
      Patches("{kind: ConfigMap, metadata: {name: m}, data: {PATH: /map}}\n"
              "---\n{kind: Pod, metadata: {name: p}, spec: {containers: "
              "[{name: c, image: i, envFrom: [{prefix: PYTHON, configMapRef: "
              "{name: m}}]}]}}")
          .patches.at(0)
          .patch["spec"]["containers"][0]["env"]
          .back()["value"],
      "/opt/cyclescope:/map");
}

TEST_F(KubeTest, FollowsAReferenceToAConfigMapThatIsThere) {
  EXPECT_EQ(
      Patches("{kind: ConfigMap, metadata: {name: m}, data: {k: /map}}\n---\n"
              "{kind: Pod, metadata: {name: p, namespace: s}, spec: "
              "{containers: [{name: c, image: i, env: [{name: PYTHONPATH, "
              "valueFrom: {configMapKeyRef: {name: m, key: k}}}]}]}}")
          .patches.at(0)
          .patch["spec"]["containers"][0]["env"]
          .back(),
      (Yaml{{"name", "PYTHONPATH"},
            {"value", "/opt/cyclescope:/map"},
            {"valueFrom", nullptr}}));
  EXPECT_EQ(result_.patches[0].name, "pod-s-p");
}

TEST_F(KubeTest, VariablesThatPythonPathRefersToStandBeforeIt) {
  EXPECT_EQ(
      Variables("{name: c, image: i, env: [{name: A, value: '1'}, {name: "
                "PYTHONPATH, value: '/$(A)'}, {name: B, value: '2'}]}"),
      Yaml::array(
          {{{"name", "A"}, {"value", "1"}},
           {{"name", "CYCLESCOPE_DIR"}, {"value", "/run/cyclescope"}},
           {{"name", "PYTHONPATH"}, {"value", "/opt/cyclescope:/$(A)"}}}));
}

TEST_F(KubeTest, SaysWhatItCannotKnow) {
  PythonPath("{name: c, image: other}");
  EXPECT_EQ(result_.warnings.size(), 1u);
  PythonPath("{name: c, image: i, envFrom: [{secretRef: {name: s}}]}");
  EXPECT_EQ(result_.warnings.size(), 1u);
  PythonPath("{name: c, image: i, command: [python3, -I, x.py]}");
  EXPECT_EQ(result_.warnings.size(), 1u);
  changes_.python_path = "/said";
  EXPECT_EQ(PythonPath("{name: c, image: other}"), "/opt/cyclescope:/said");
  EXPECT_THAT(result_.warnings, IsEmpty());
}

TEST_F(KubeTest, RefusesPythonPathByReferenceUnlessItIsSaid) {
  const std::string container =
      "{name: c, image: i, env: [{name: PYTHONPATH, valueFrom: "
      "{configMapKeyRef: {name: m, key: k}}}]}";
  const std::string pod =
      "{kind: Pod, metadata: {name: p}, spec: {containers: [" + container +
      "]}}";
  EXPECT_THAT(Refusal(pod), HasSubstr("valueFrom"));
  changes_.python_path = "/said";
  EXPECT_EQ(Variables(container).back(),
            (Yaml{{"name", "PYTHONPATH"},
                  {"value", "/opt/cyclescope:/said"},
                  {"valueFrom", nullptr}}));
}

TEST_F(KubeTest, AsksWhichOfSeveralContainers) {
  const std::string pod =
      "{kind: Pod, metadata: {name: p}, spec: {containers: [{name: a, image: "
      "i}, {name: b, image: i}]}}";
  EXPECT_THAT(Refusal(pod), HasSubstr("a, b"));
  changes_.containers = {"x"};
  EXPECT_THAT(Refusal(pod), HasSubstr("--container"));
  changes_.containers = {"a", "b"};
  Yaml spec = Patches(pod).patches.at(0).patch["spec"];
  EXPECT_EQ(spec["containers"].size(), 2u);
  // Each has its own folder for sockets: both may have a process 1.
  EXPECT_NE(spec["containers"][0]["volumeMounts"][1]["name"],
            spec["containers"][1]["volumeMounts"][1]["name"]);
  EXPECT_EQ(spec["volumes"].size(), 3u);
}

TEST_F(KubeTest, LeavesAloneWhatHasItAlready) {
  EXPECT_THAT(Patches("{kind: Pod, metadata: {name: p}, spec: {initContainers: "
                      "[{name: cyclescope}], containers: [{name: a, image: "
                      "i}]}}")
                  .patches,
              IsEmpty());
  EXPECT_EQ(result_.warnings.size(), 1u);
}

TEST_F(KubeTest, SaysWhichKindsItLeavesAlone) {
  const std::string pod =
      "{kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: "
      "i}]}}";
  Patches(pod + "\n---\n{kind: ClowdApp, metadata: {name: d}}");
  ASSERT_EQ(result_.warnings.size(), 1u);
  EXPECT_THAT(result_.warnings[0], HasSubstr("ClowdApp"));
}

TEST_F(KubeTest, RefusesWhatHasNoPod) {
  EXPECT_THAT(Refusal("{kind: Service}"), HasSubstr("there is no Pod"));
  EXPECT_THAT(Refusal("[1, 2]"), HasSubstr("there is no Pod"));
  EXPECT_THAT(Refusal(""), HasSubstr("there is no Pod"));
  EXPECT_THAT(Refusal("{kind: Pod, spec: {}}"), HasSubstr("metadata.name"));
  EXPECT_THAT(Refusal("{kind: Pod, metadata: {name: p}, spec: 3}"),
              HasSubstr("no containers"));
  EXPECT_THAT(Refusal("{kind: Deployment, metadata: {name: p}}"),
              HasSubstr("no containers"));
}

}  // namespace
}  // namespace injector
