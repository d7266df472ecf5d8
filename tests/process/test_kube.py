"""`kube`: patches that bring the inspector into pods and change nothing else."""

import copy
import os
import subprocess

import kubernetes_validate
import pytest
import yaml
from support import containers
from support.agent import HOOK, ROOT, ask, tool, wait_until

KUSTOMIZE = ROOT / "build" / "tools" / "usr" / "bin" / "kustomize"
IMAGE = "localhost/cyclescope-test-install:%d" % os.getpid()
VERSION = "1.28"  # Of Kubernetes: OpenShift 4.15's.
PROGRAM = (
    "import sys, signal; print('path', ':'.join(sys.path), flush=True); "
    "signal.signal(15, lambda *_: sys.exit()); signal.pause()"
)

MANIFESTS = """\
# Objects of many kinds, written in many ways.
apiVersion: v1
kind: List
items:
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: app, namespace: prod, labels: {app: app}}
  spec:
    replicas: 3
    selector: {matchLabels: {app: app}}
    template:
      metadata: {labels: {app: app}}
      spec:
        securityContext: {runAsNonRoot: true}
        initContainers:
        - {name: migrate, image: localhost/app:1, command: [migrate]}
        containers:
        - name: app
          image: localhost/app:1
          args: ["--port", "8000"]
          env:
          - {name: ROOT, value: /srv}
          - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
          - {name: PYTHONPATH, value: $(ROOT)/app}
          - {name: AFTER, value: $(PYTHONPATH)/x}
          ports: [{containerPort: 8000}]
          resources: {limits: {memory: 512Mi}}
          volumeMounts: [{name: data, mountPath: /data}]
        - name: proxy
          image: localhost/proxy:1
        volumes:
        - {name: data, emptyDir: {}}
- apiVersion: v1
  kind: Service
  metadata: {name: app}
  spec: {selector: {app: app}, ports: [{port: 80}]}
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: nightly
spec:
  schedule: "0 3 * * *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers:
          - name: app
            image: localhost/app:1
            envFrom:
            - configMapRef: {name: settings}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data:
  PYTHONPATH: /from/map
---
apiVersion: v1
kind: Pod
metadata: {name: single}
spec:
  containers:
  - name: app
    image: localhost/app:1
    command: ["python3", "-m", "app"]
    securityContext: {runAsUser: 1001, runAsNonRoot: true}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: store}
spec:
  serviceName: store
  selector: {matchLabels: {app: store}}
  template:
    metadata: {labels: {app: store}}
    spec:
      containers:
      - {name: app, image: localhost/app:1}
---
# kustomize does not know this kind and replaces its lists.
apiVersion: apps.openshift.io/v1
kind: DeploymentConfig
metadata: {name: old}
spec:
  selector: {app: old}
  template:
    metadata: {labels: {app: old}}
    spec:
      initContainers:
      - {name: migrate, image: localhost/app:1}
      containers:
      - name: proxy
        image: localhost/proxy:1
      - name: app
        image: localhost/app:1
        env:
        - {name: FIRST, value: "1"}
        - {name: PYTHONPATH, value: /srv/old}
        volumeMounts: [{name: data, mountPath: /data}]
      volumes:
      - {name: data, emptyDir: {}}
"""
EXPECTED = {
    ("Deployment", "app"): "$(ROOT)/app",
    ("CronJob", "nightly"): "/from/map",
    ("Pod", "single"): "",
    ("StatefulSet", "store"): "",
    ("DeploymentConfig", "old"): "/srv/old",
}


def kustomize(folder):
    """The objects of a kustomization, by kind and name."""
    if not KUSTOMIZE.exists():
        pytest.skip("no kustomize here; make tools fetches it")
    done = subprocess.run([KUSTOMIZE, "build", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    objects = list(yaml.safe_load_all(done.stdout))
    return {(one["kind"], one["metadata"]["name"]): one for one in objects}


def patched(text, folder, *arguments):
    done = tool("kube", "-", "--output", folder, *arguments, input=text)
    assert done.returncode == 0, done.stderr
    return kustomize(folder), done.stderr


def unpatched(text, folder):
    folder.mkdir()
    (folder / "manifest.yaml").write_text(text)
    (folder / "kustomization.yaml").write_text("resources: [manifest.yaml]\n")
    return kustomize(folder)


def pod_spec(one):
    spec = one["spec"]
    if one["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec if one["kind"] == "Pod" else spec["template"]["spec"]


def remove(items, names, key="name"):
    """Takes the named items out of a list of objects and returns them."""
    found = [item for item in items if item[key] in names]
    items[:] = [item for item in items if item[key] not in names]
    assert len(found) == len(names)
    return found


def without_ours(one):
    """The object without what the patch adds, and its PYTHONPATH."""
    one = copy.deepcopy(one)
    spec = pod_spec(one)
    remove(spec["initContainers"], ["cyclescope"])
    remove(spec["volumes"], ["cyclescope", "cyclescope-run"])
    container = next(item for item in spec["containers"] if item["name"] == "app")
    _, path = remove(container["env"], ["CYCLESCOPE_DIR", "PYTHONPATH"])
    remove(container["volumeMounts"], ["/opt/cyclescope", "/run/cyclescope"], "mountPath")
    drop_empty(spec)
    return one, path["value"]


def drop_empty(spec):
    for holder in [spec, *spec["containers"]]:
        for key in ("initContainers", "volumes", "env", "volumeMounts"):
            if not holder.get(key):
                holder.pop(key, None)


def test_only_the_inspector_is_added(tmp_path):
    before = unpatched(MANIFESTS, tmp_path / "before")
    after, _ = patched(MANIFESTS, tmp_path / "after", "--container=app")
    assert set(before) == set(after)
    for key, was in before.items():
        if key not in EXPECTED:
            assert after[key] == was
            continue
        one, path = without_ours(after[key])
        was = copy.deepcopy(was)
        container = next(
            item for item in pod_spec(was)["containers"] if item["name"] == "app"
        )
        container["env"] = [
            item for item in container.get("env", []) if item["name"] != "PYTHONPATH"
        ]
        drop_empty(pod_spec(was))
        assert one == was
        expected = EXPECTED[key]
        assert path == "/opt/cyclescope" + (":" + expected if expected else "")
    # `$(ROOT)` is put in only if ROOT stands before it.
    env = [
        item["name"]
        for item in pod_spec(after["Deployment", "app"])["containers"][0]["env"]
    ]
    assert env.index("ROOT") < env.index("PYTHONPATH") < env.index("AFTER")


def test_the_result_is_valid_by_kubernetes_schema(tmp_path):
    after, _ = patched(MANIFESTS, tmp_path / "after", "--container=app")
    after.pop(("DeploymentConfig", "old"))  # OpenShift's own.
    for one in after.values():
        kubernetes_validate.validate(one, VERSION, strict=True)
    broken = copy.deepcopy(after["Pod", "single"])
    broken["spec"]["initContainers"][0]["securityContext"]["capabilities"] = ["ALL"]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSION, strict=True)


def restricted_v2(spec):
    """What OpenShift's restricted-v2 refuses in a pod's spec (security context
    constraints of 4.15, manifest of the cluster-kube-apiserver-operator)."""
    problems = []
    allowed = {
        "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral",
        "persistentVolumeClaim", "projected", "secret",
    }  # fmt: skip
    for volume in spec.get("volumes", []):
        problems += set(volume) - {"name"} - allowed
    problems += [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    for container in spec.get("initContainers", []) + spec["containers"]:
        context = container.get("securityContext", {})
        if context.get("privileged") or context.get("allowPrivilegeEscalation"):
            problems.append("privilege")
        added = set(context.get("capabilities", {}).get("add", []))
        problems += added - {"NET_BIND_SERVICE"}
        if (
            context.get("seccompProfile", {}).get("type", "RuntimeDefault")
            != "RuntimeDefault"
        ):
            problems.append("seccompProfile")
        problems += [port for port in container.get("ports", []) if "hostPort" in port]
    return problems


def test_the_result_passes_restricted_v2_for_any_uid(tmp_path):
    after, _ = patched(MANIFESTS, tmp_path / "after", "--container=app")
    for key in EXPECTED:
        spec = pod_spec(after[key])
        assert restricted_v2(spec) == []
        init = next(item for item in spec["initContainers"] if item["name"] == "cyclescope")
        context = init["securityContext"]
        # What Pod Security's `restricted` wants to see in so many words.
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["allowPrivilegeEscalation"] is False
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        # The uid is the cluster's or the pod's to say.
        app = next(item for item in spec["containers"] if item["name"] == "app")
        own = app.get("securityContext", {})
        assert context.get("runAsUser") == own.get("runAsUser")
        assert init["resources"]["limits"] and init["resources"]["requests"]
    assert restricted_v2({"containers": [], "volumes": [{"name": "a", "hostPath": {}}]})


def test_patches_go_to_stdout_and_fit_a_kustomization_of_ones_own(tmp_path):
    (tmp_path / "manifest.yaml").write_text(MANIFESTS)
    done = tool("kube", tmp_path / "manifest.yaml", "--container", "app")
    assert done.returncode == 0
    assert (
        tool("kube", tmp_path / "manifest.yaml", "--container", "app").stdout == done.stdout
    )
    (tmp_path / "patches.yaml").write_text(done.stdout)
    (tmp_path / "kustomization.yaml").write_text(
        "resources: [manifest.yaml]\npatches: [{path: patches.yaml}]\n"
    )
    folder = tmp_path / "made"
    assert kustomize(tmp_path) == patched(MANIFESTS, folder, "--container=app")[0]
    assert (folder / "manifest.yaml").read_text() == MANIFESTS
    # Again into its own folder, but not into another's.
    patched(MANIFESTS, folder, "--container=app")
    other = tool("kube", "-", "--output", tmp_path, "--container=app", input=MANIFESTS)
    assert other.returncode == 1 and "holds other files" in other.stderr


def test_what_is_patched_already_is_left_alone(tmp_path):
    folder = tmp_path / "made"
    patched(MANIFESTS, folder, "--container=app")
    done = subprocess.run([KUSTOMIZE, "build", folder], capture_output=True, text=True)
    again = tool("kube", "-", "--container", "app", input=done.stdout)
    assert again.returncode == 0 and again.stdout == ""
    assert again.stderr.count("has the inspector already") == len(EXPECTED)


REFERENCE = """\
kind: Pod
apiVersion: v1
metadata: {name: p}
spec:
  containers:
  - name: c
    image: i
    env: [{name: PYTHONPATH, valueFrom: {configMapKeyRef: {name: m, key: k}}}]
"""


@pytest.mark.parametrize(
    "text, sentence",
    [
        (MANIFESTS, "app, proxy; name those with a Python by --container"),
        (REFERENCE, "valueFrom"),
        ("kind: Service\n", "there is no Pod"),
        ("a: [\n", "stdin line 2"),
    ],
)
def test_refusals_are_one_sentence(text, sentence):
    done = tool("kube", "-", input=text)
    assert done.returncode == 1 and done.stdout == ""
    assert sentence in done.stderr and done.stderr.count("\n") == 1


def test_a_reference_gives_way_to_the_value_that_is_said(tmp_path):
    after, _ = patched(REFERENCE, tmp_path / "made", "--pythonpath=/said")
    env = after["Pod", "p"]["spec"]["containers"][0]["env"]
    assert {"name": "PYTHONPATH", "value": "/opt/cyclescope:/said"} in env


@pytest.fixture(scope="module")
def install_image(podman):
    """The small image, as `make image` builds it."""
    podman.podman(
        "build", "--quiet", "--file", ROOT / "Containerfile", "--tag", IMAGE, HOOK
    )
    yield IMAGE
    podman.podman("rmi", "--force", IMAGE)


@pytest.mark.parametrize("user", ["65534", "1000780000:0"])
def test_the_image_installs_its_folder_as_any_user(podman, install_image, tmp_path, user):
    target = tmp_path / "volume"
    target.mkdir(mode=0o777)
    target.chmod(0o777)
    podman.podman(
        "run",
        *("--rm", "--network=none", "--cap-drop=ALL", "--read-only", "--user", user),
        *("--volume", "%s:/cyclescope" % target, install_image, "install", "/cyclescope"),
    )
    wanted = {
        path.name: path.read_bytes()
        for path in HOOK.iterdir()
        if path.is_file() and path.suffix != ".pyc"  # Python 2 leaves them there.
    }
    assert {path.name: path.read_bytes() for path in target.iterdir()} == wanted
    for path in target.iterdir():
        assert path.stat().st_mode & 0o444 == 0o444


PLAYED = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: %(name)s
  # Else podman 4.3 removes it before it has ended.
  annotations: {io.podman.annotations.init.container.type: always}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata:
      labels: {app: app}
    spec:
      containers:
      - name: app
        image: %(image)s
        imagePullPolicy: Never
        command: ["python3", "-c", "%(program)s"]
        env:
        - {name: PYTHONPATH, value: /srv/app}
        securityContext:
          runAsUser: 1001
          readOnlyRootFilesystem: true
          allowPrivilegeEscalation: false
          capabilities: {drop: [ALL]}
"""


def test_podman_plays_it_and_a_snapshot_is_taken(podman, install_image, tmp_path):
    name = "cyclescope-test-%d" % os.getpid()
    text = PLAYED % {"name": name, "image": podman.image(), "program": PROGRAM}
    objects, _ = patched(text, tmp_path / "made", "--image", install_image)
    played = tmp_path / "played.yaml"
    played.write_text(yaml.safe_dump(objects["Deployment", name]))
    try:
        podman.podman("kube", "play", "--network=none", played, timeout=180)
        [identity] = podman.podman(
            "ps", "--quiet", "--no-trunc", "--filter", "name=%s-pod.*-app" % name
        ).splitlines()
        container = containers.Container(identity)
        lines = wait_until(
            lambda: [
                line for line in container.logs().splitlines() if line.startswith("path ")
            ],
            30,
        )
        assert "/srv/app" in lines[0] and "/opt/cyclescope" not in lines[0]
        socket = "/proc/%d/root/run/cyclescope/cyclescope-1.sock" % container.pid
        wait_until(lambda: os.path.exists(socket), 30)
        report = ask("snapshot", container.pid)
        assert report["process"]["pid_in_namespace"] == 1
        assert report["heap"]["objects"] > 1000
    finally:
        podman.podman("kube", "down", played, timeout=180)
