"""`compose`: the override adds the inspector and changes nothing else."""

import copy
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys

import pytest
import yaml
from support import containers
from support.agent import ROOT, ask, tool, wait_until

STACKS = pathlib.Path(__file__).parent / "stacks"
INSIDE = "/opt/cyclescope"
PODMAN_COMPOSE = [sys.executable, "-m", "podman_compose"]
DOCKER_COMPOSE = [
    ROOT
    / "build"
    / "tools"
    / "usr"
    / "libexec"
    / "docker"
    / "cli-plugins"
    / "docker-compose"
]

# What PYTHONPATH becomes of each service, with `${...}` put in (EXTRA_PATH is
# not set).
EXPECTED = {
    "anchors": {"app": "/srv/common", "worker": "/srv/worker", "plain": ""},
    "entrypoints": {"text": "", "list": "", "none": ""},
    "env_file": {"app": "/srv/app:/srv/lib", "worker": "/srv/common"},
    "extends": {"base": "/srv/base", "app": "/srv/base", "worker": "/srv/shared"},
    "interpolated": {
        "app": "/srv/dev/lib:/srv/$literal",
        "optional": INSIDE,  # Twice, in place of an empty entry.
    },
    "list": {"app": "/srv/app"},
    "map": {"app": "/srv/app:/srv/lib"},
    "profiles": {"app": "", "db": "", "debug": "/srv/debug"},
    "several": {"app": "/srv/new", "worker": "/srv/worker"},
    "windows": {"app": "/srv/app"},
}


def files_of(style):
    """Its compose files in the order of their -f."""
    names = ["compose.yml"] + ["compose.prod.yml"] * (style == "several")
    return [STACKS / style / name for name in names]


def override_of(style, directory, *arguments):
    done = tool("compose", *files_of(style), *arguments)
    assert done.returncode == 0, done.stderr
    path = directory / "override.yml"
    path.write_text(done.stdout)
    return path, done.stderr


def run(command, files, *arguments, **options):
    options.setdefault("timeout", 120)
    words = [*command]
    for file in files:
        words += ["-f", file]
    done = subprocess.run(
        [str(word) for word in [*words, *arguments]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def podman_config(files):
    command = [*PODMAN_COMPOSE, "--profile", "debug"]
    return yaml.safe_load(run(command, files, "config"))


def docker_config(files):
    if not DOCKER_COMPOSE[0].exists():
        pytest.skip("no docker compose here; make tools fetches it")
    command = [*DOCKER_COMPOSE, "--profile", "*"]
    return json.loads(run(command, files, "config", "--format", "json"))


def without_ours(service):
    """The service without what the override adds, and its PYTHONPATH."""
    service = copy.deepcopy(service)
    environment = service["environment"]
    assert environment.pop("CYCLESCOPE_DIR") == "/run/cyclescope"
    path = environment.pop("PYTHONPATH")
    ours = []
    for volume in list(service["volumes"]):
        place = volume.split(":")[1] if isinstance(volume, str) else volume["target"]
        if place in (INSIDE, "/run/cyclescope"):
            ours.append(volume)
            service["volumes"].remove(volume)
    assert len(ours) == 2
    for key in ("environment", "volumes"):
        if not service[key]:
            del service[key]
    return service, path


def bare(service):
    """The service as it was, without the variable that changes."""
    service = copy.deepcopy(service)
    (service.get("environment") or {}).pop("PYTHONPATH", None)
    for key in ("environment", "volumes"):
        if not service.get(key):
            service.pop(key, None)
    return service


@pytest.mark.parametrize("style", EXPECTED)
@pytest.mark.parametrize("config", [podman_config, docker_config])
def test_only_the_inspector_is_added(style, config, tmp_path, monkeypatch):
    monkeypatch.delenv("EXTRA_PATH", raising=False)
    files = files_of(style)
    before = config(files)
    override, _ = override_of(style, tmp_path)
    after = config([*files, override])
    names = EXPECTED[style]
    assert set(names) == set(after["services"]) == set(before["services"])
    for name, expected in names.items():
        service, path = without_ours(after["services"][name])
        assert service == bare(before["services"][name])
        # docker compose writes the sign itself as $$ here, too.
        path = path.replace("$$", "$")
        assert path == INSIDE + (":" + expected if expected else "")
        # What an interpolated or inherited value was, by the real tool.
        was = (before["services"][name].get("environment") or {}).get("PYTHONPATH")
        if was:
            assert path == INSIDE + ":" + was.replace("$$", "$")
    for model in (before, after):
        model.pop("services")
    assert after == before


PATHS = [
    "/srv/%d",
    "",
    "${UNSET}",
    "${UNSET:-/d}",
    "$$x",
    "/a:${UNSET}",
    "${GIVEN}/%d",
    ":/b",
]


def random_environment(choose, margin):
    """Lines of an environment in some form, mostly with PYTHONPATH."""
    path = choose.choice(PATHS).replace("%d", str(choose.randrange(9)))
    lines = [("A", '"1"'), ("PYTHONPATH", json.dumps(path)), ("B", "x")]
    lines = choose.sample(lines, choose.randint(1, 3))
    if choose.random() < 0.5:
        text = [
            "- "
            + json.dumps(
                name + "=" + json.loads(value) if value[0] == '"' else name + "=" + value
            )
            for name, value in lines
        ]
        if choose.random() < 0.2:
            text = [line for line in text if "PYTHONPATH" not in line] + ["- PYTHONPATH"]
    else:
        text = ["%s: %s" % line for line in lines]
        if choose.random() < 0.3:
            text.insert(0, "<<: *environment")
    return [margin + "environment:"] + [margin + "  " + line for line in text]


def random_project(seed, folder):
    """Files of a project in which PYTHONPATH comes in many ways."""
    choose = random.Random(seed)
    folder.mkdir(parents=True)
    for name in ("one.env", "two.env"):
        lines = ["# %s" % name, "OTHER=1"]
        if choose.random() < 0.6:
            lines.append(
                choose.choice(
                    ["PYTHONPATH=/%s", "export PYTHONPATH='/%s'", 'PYTHONPATH="/%s" # why']
                )
                % name
            )
        (folder / name).write_text(choose.choice(["\n", "\r\n"]).join(lines + [""]))
    files = []
    for number in range(choose.randint(1, 3)):
        lines = ["x-environment: &environment", "  PYTHONPATH: /merged", "services:"]
        for name in "abc":
            if number > 0 and name != "a" and choose.random() < 0.4:
                continue
            lines += ["  %s:" % name, "    image: localhost/%s:%d" % (name, number)]
            if choose.random() < 0.7:
                lines += random_environment(choose, "    ")
            if choose.random() < 0.3:
                lines.append(
                    "    env_file: "
                    + choose.choice(["one.env", "[two.env, one.env]", "[{path: two.env}]"])
                )
            if number == 0 and name != "a" and choose.random() < 0.4:
                lines.append("    extends: " + choose.choice(["a", "{service: a}"]))
        files.append(folder / ("%d.yml" % number))
        files[-1].write_text(choose.choice(["\n", "\r\n"]).join(lines + [""]))
    return files


# Oracle: the composes' own reading of the files.
@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("config", [podman_config, docker_config])
def test_random_projects_keep_what_the_composes_make_of_them(
    config, seed, tmp_path, monkeypatch
):
    monkeypatch.setenv("GIVEN", "/given")
    monkeypatch.delenv("UNSET", raising=False)
    if seed % 2:
        monkeypatch.setenv("PYTHONPATH", "/callers")
    else:
        monkeypatch.delenv("PYTHONPATH", raising=False)
    files = random_project(seed, tmp_path / "project")
    done = tool("compose", *files)
    assert done.returncode == 0, done.stderr
    passed_on = any("- PYTHONPATH\n" in path.read_text() for path in files)
    if config is podman_config and (passed_on or "podman-compose" in done.stderr):
        pytest.skip("podman-compose cannot, or reads it otherwise, as was said")
    before = config(files)["services"]
    (tmp_path / "override.yml").write_text(done.stdout)
    after = config([*files, tmp_path / "override.yml"])["services"]
    for name, was in before.items():
        service, path = without_ours(after[name])
        assert service == bare(was)
        had = (was.get("environment") or {}).get("PYTHONPATH")
        if had:
            assert path == INSIDE + ":" + had
        elif config is docker_config or not {"env_file", "extends"} & set(was):
            # A variable that turned out empty leaves the folder itself, not "".
            assert path in (INSIDE, INSIDE + ":" + INSIDE)
        else:  # Of these podman-compose's `config` says nothing more.
            assert path.startswith(INSIDE)


@pytest.mark.parametrize("style", EXPECTED)
def test_output_is_stable_and_its_own_input_changes_nothing(style, tmp_path):
    override, said = override_of(style, tmp_path)
    text = override.read_text()
    assert override_of(style, tmp_path)[0].read_text() == text
    assert "podman compose" in said and "inspector comes into" in said
    again = tool("compose", *files_of(style), override)
    assert again.returncode == 0
    assert yaml.safe_load(again.stdout)["services"] == {}


def test_the_users_files_are_not_touched(tmp_path):
    shutil.copytree(STACKS, tmp_path / "stacks")
    before = {path: path.read_bytes() for path in (tmp_path / "stacks").rglob("*.*")}
    for style in EXPECTED:
        tool(
            "compose",
            *(tmp_path / file.relative_to(STACKS.parent) for file in files_of(style)),
        )
    assert before == {
        path: path.read_bytes() for path in (tmp_path / "stacks").rglob("*.*")
    }


def test_named_services_only_and_variables_handed_on(tmp_path):
    environment = dict(
        os.environ, CYCLESCOPE_WATCH="a.B,no: yes #1", CYCLESCOPE_EVERY="60s"
    )
    done = tool("compose", *files_of("anchors"), "--service", "worker", env=environment)
    services = yaml.safe_load(done.stdout)["services"]
    assert list(services) == ["worker"]
    assert services["worker"]["environment"] == {
        "CYCLESCOPE_DIR": "/run/cyclescope",
        "CYCLESCOPE_EVERY": "60s",
        "CYCLESCOPE_WATCH": "a.B,no: yes #1",
        "PYTHONPATH": INSIDE + ":/srv/worker",
    }


@pytest.mark.parametrize(
    "value", ["no", "1.0", "a b", "'x", '"', "é→", "a: b", "#x", "$$x", "{a}", "*a", "-"]
)
def test_values_that_need_quotes_are_read_as_they_are(value):
    done = tool("compose", *files_of("map"), env=dict(os.environ, CYCLESCOPE_WATCH=value))
    environment = yaml.safe_load(done.stdout)["services"]["app"]["environment"]
    assert environment["CYCLESCOPE_WATCH"] == value.replace("$", "$$")


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["gone.yml"], "gone.yml: cannot be read"),
        ([STACKS / "list" / "compose.yml", "--service", "web"], "there are app"),
        ([STACKS / "list" / "src" / "app.py"], "is not"),
        ([STACKS / "list" / "compose.yml", "--mount", "/gone:/x"], "there is no /gone"),
        ([STACKS / "list" / "compose.yml", "--patch", "/gone"], "/gone"),
    ],
)
def test_refusals_are_one_sentence(arguments, sentence):
    done = tool("compose", *arguments)
    assert done.returncode == 1 and done.stdout == ""
    assert sentence in done.stderr and done.stderr.count("\n") == 1


class Stack:
    """A stack that is up; `config` is what podman-compose was given."""

    def __init__(self, files, project):
        self.files, self.project = files, project

    def container(self, service):
        label = "label=com.docker.compose.service=" + service
        project = "label=com.docker.compose.project=" + self.project
        [identity] = containers.podman(
            "ps", "--quiet", "--no-trunc", "--filter", label, "--filter", project
        ).splitlines()
        return containers.Container(identity)


@pytest.fixture
def up(podman, monkeypatch):
    """Starts stacks with the override; takes them down again."""
    monkeypatch.setenv("IMAGE", podman.image())
    started = []

    def start(files, command=PODMAN_COMPOSE):
        project = "cyclescope-test-%d-%d" % (os.getpid(), len(started))
        monkeypatch.setenv("COMPOSE_PROJECT_NAME", project)
        started.append((project, files, command))
        run(command, files, "up", "--detach")
        return Stack(files, project)

    yield start
    for project, files, command in started:
        monkeypatch.setenv("COMPOSE_PROJECT_NAME", project)
        run(command, files, "down", "--timeout", "1", "--volumes")


def snapshot_of(container):
    socket = "/proc/%d/root/run/cyclescope/cyclescope-1.sock" % container.pid
    wait_until(lambda: os.path.exists(socket), 30)
    report = ask("snapshot", container.pid)
    assert report["process"]["pid_in_namespace"] == 1
    assert report["heap"]["objects"] > 1000
    return report


def python_path_of(container):
    """sys.path as the program printed it."""
    lines = wait_until(
        lambda: [
            line for line in container.logs().splitlines() if line.startswith("path ")
        ],
        30,
    )
    return lines[0].split(" ", 1)[1].split(":")


@pytest.mark.parametrize(
    "style, services",
    [
        ("list", {"app": "/srv/app"}),
        ("anchors", {"app": "/srv/common", "worker": "/srv/worker", "plain": None}),
        ("env_file", {"app": "/srv/lib"}),
    ],
)
def test_a_stack_starts_with_the_inspector_in_each_service(style, services, up, tmp_path):
    # --service: the other services of the file have no image that exists.
    named = [word for name in services for word in ("--service", name)]
    override, _ = override_of(style, tmp_path, *named)
    files = [*files_of(style), override]
    if style == "env_file":
        own = yaml.safe_load(files[0].read_text())
        del own["services"]["worker"]
        shutil.copytree(files[0].parent, tmp_path / style)
        files[0] = tmp_path / style / "compose.yml"
        files[0].write_text(yaml.safe_dump(own))
    stack = up(files)
    for name, expected in services.items():
        container = stack.container(name)
        if expected:
            path = python_path_of(container)
            assert expected in path and INSIDE not in path
        snapshot_of(container)
    if style == "list":
        assert "arguments --port 8000 hello" in stack.container("app").logs()
    # As a person would name them, and where the host can look into nothing.
    container = stack.container(next(iter(services)))
    for target in (container.name, "exec:podman exec -i " + container.name):
        assert ask("snapshot", target)["process"]["pid_in_namespace"] == 1
    whole = tool("snapshot", stack.project, "--all", "--json")
    assert whole.returncode == 0, whole.stderr
    assert len(whole.stdout.splitlines()) == len(services)
    if style == "anchors":
        assert stack.container("worker").inspect()["Config"]["User"] == "1001"


def test_docker_compose_starts_it_too(up, podman_socket, tmp_path, monkeypatch):
    if not DOCKER_COMPOSE[0].exists():
        pytest.skip("no docker compose here; make tools fetches it")
    monkeypatch.setenv("DOCKER_HOST", "unix://" + podman_socket)
    override, _ = override_of("list", tmp_path)
    stack = up([*files_of("list"), override], DOCKER_COMPOSE)
    assert "/srv/app" in python_path_of(stack.container("app"))
    snapshot_of(stack.container("app"))


PATCH = """\
--- a/shop/cart.py
+++ b/shop/cart.py
@@ -1,4 +1,5 @@
 \"\"\"A cart.\"\"\"
+from shop.tax import RATE
 
 def total():
-    return 100
+    return 100 + RATE
--- /dev/null
+++ b/shop/tax.py
@@ -0,0 +1 @@
+RATE = 7
"""
SITE = "/usr/local/lib/python3.11/dist-packages"


@pytest.fixture(scope="module")
def shop_image(podman, tmp_path_factory):
    """Makes images with the package `shop` at places, compiled as asked."""
    made = []

    def make(*places, invalidation="timestamp"):
        folder = tmp_path_factory.mktemp("shop")
        (folder / "shop").mkdir()
        (folder / "shop" / "__init__.py").touch()
        cart = folder / "shop" / "cart.py"
        cart.write_text('"""A cart."""\n\ndef total():\n    return 100\n')
        cache = folder / "shop" / "__pycache__" / "cart.cpython-311.pyc"
        cache.parent.mkdir()
        flags = {"timestamp": 0, "unchecked-hash": 1}[invalidation]
        cache.write_bytes(b"\xa7\r\r\n" + bytes([flags, 0, 0, 0]) + bytes(8))
        copies = "".join("COPY shop %s/shop\n" % place for place in places)
        (folder / "Containerfile").write_text("FROM %s\n%s" % (podman.image(), copies))
        name = "localhost/cyclescope-test-shop:%d-%d" % (os.getpid(), len(made))
        made.append(name)
        podman.podman("build", "--quiet", "--tag", name, folder)
        return name

    yield make
    for name in made:
        podman.podman("rmi", "--force", name)


def shop_stack(image, folder):
    program = (
        "import sys, signal, shop.cart; print('path', shop.cart.total(), flush=True); "
        "signal.signal(15, lambda *_: sys.exit()); signal.pause()"
    )
    path = folder / "compose.yml"
    path.write_text(
        json.dumps(
            {
                "services": {
                    "shop": {
                        "image": image,
                        "network_mode": "none",
                        "user": "1001",
                        "command": ["python3", "-c", program],
                    }
                }
            }
        )
    )
    return path


def made_of(image):
    """The containers that there are of it."""
    return containers.podman("ps", "--all", "--quiet", "--filter=ancestor=" + image)


def patched(stack, text, folder, *arguments):
    (folder / "my.patch").write_text(text)
    return tool("compose", stack, "--patch", "my.patch", *arguments, cwd=folder)


def test_a_patch_lies_over_the_images_files(shop_image, up, tmp_path):
    image = shop_image(SITE)
    stack = shop_stack(image, tmp_path)
    done = patched(stack, PATCH, tmp_path)
    assert done.returncode == 0, done.stderr
    assert made_of(image) == ""
    volumes = yaml.safe_load(done.stdout)["services"]["shop"]["volumes"]
    copies = tmp_path / "cyclescope-patched" / "shop" / "shop"
    assert "%s/cart.py:%s/shop/cart.py:ro,z" % (copies, SITE) in volumes
    assert "%s/tax.py:%s/shop/tax.py:ro,z" % (copies, SITE) in volumes
    override = tmp_path / "override.yml"
    override.write_text(done.stdout)
    container = up([stack, override]).container("shop")
    assert python_path_of(container) == ["107"]
    snapshot_of(container)


@pytest.mark.parametrize(
    "places, compiled, text, sentence",
    [
        (
            [SITE],
            "timestamp",
            PATCH.replace("return 100\n", "return 99\n"),
            "does not apply",
        ),
        ([SITE], "timestamp", PATCH.replace("shop/cart", "shop/till"), "no service has"),
        ([SITE, "/opt/app"], "timestamp", PATCH, "twice"),
        ([SITE], "unchecked-hash", PATCH, "unchecked-hash"),
        (
            [SITE],
            "timestamp",
            PATCH.replace("+++ b/shop/cart.py", "+++ /dev/null"),
            "removes",
        ),
        ([SITE], "timestamp", PATCH.replace("b/shop/tax", "b/../tax"), ".."),
        ([SITE], "timestamp", "no diff\n", "changes no file"),
        ([], "timestamp", PATCH, "no service has"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused(
    shop_image, tmp_path, places, compiled, text, sentence
):
    image = shop_image(*places, invalidation=compiled)
    done = patched(shop_stack(image, tmp_path), text, tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert sentence in done.stderr and done.stderr.count("\n") == 1
    assert made_of(image) == ""
    assert not (tmp_path / "cyclescope-patched").exists()


def test_a_mount_brings_code_and_the_image_its_pythonpath(podman, up, tmp_path):
    base = podman.image()
    name = "localhost/cyclescope-test-env:%d" % os.getpid()
    (tmp_path / "Containerfile").write_text("FROM %s\nENV PYTHONPATH=/from/image\n" % base)
    podman.podman("build", "--quiet", "--tag", name, tmp_path)
    try:
        (tmp_path / "code").mkdir()
        (tmp_path / "code" / "extra.py").write_text("WORD = 'mounted'\n")
        stack = shop_stack(name, tmp_path)
        stack.write_text(
            stack.read_text()
            .replace("shop.cart", "sys")
            .replace("sys.total()", "':'.join(sys.path)")
        )
        done = tool("compose", stack, "--mount", "code:/from/image", cwd=tmp_path)
        assert done.returncode == 0 and "not known" not in done.stderr
        override = tmp_path / "override.yml"
        override.write_text(done.stdout)
        container = up([stack, override]).container("shop")
        assert python_path_of(container)[1] == "/from/image"
        assert container.exec("cat", "/from/image/extra.py").stdout == "WORD = 'mounted'\n"
        assert container.exec("touch", "/from/image/x").returncode != 0
    finally:
        podman.podman("rmi", "--force", name)
