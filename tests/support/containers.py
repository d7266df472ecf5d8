"""Real podman containers: an image with Python, programs in it, the API socket.

All of it needs a containers.conf of its own, which `use` names in this
process's environment, so that the tool under test uses it too. What cannot be
had is skipped by name.
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import pytest

from support.agent import HOOK, NOBODY, PROGRAMS, ROOT, Target, as_nobody, wait_until

FOLDER = ROOT / "build" / "podman"
INSIDE = "/opt/cyclescope"  # Where the hook folder is mounted.
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LABEL = "cyclescope-test"
# The limits that podman would set may be above the machine's own; crun does
# not start on a machine with both versions of cgroups.
CONFIGURATION = """\
[containers]
default_ulimits=["nofile=1024:1024","nproc=1000:1000"]
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
[network]
network_backend="netavark"
"""
APT = """\
Acquire::Check-Valid-Until "false";
Acquire::Check-Date "false";
"""


def _said(*command, **options):
    options.setdefault("timeout", 60)
    return subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        **options,
    )


def podman(*arguments, **options):
    """What it printed; an error of podman's is the test's."""
    done = _said("podman", *arguments, **options)
    assert done.returncode == 0, "podman %s: %s" % (" ".join(map(str, arguments)), done.stderr)
    return done.stdout.strip()


@functools.cache
def image():
    """The name of an image with Debian's Python, made where podman has none.

    The mirror is the one that this machine's own apt uses, as in
    debian_pythons. Skips by name.
    """
    packages = "python3,procps,file"
    recipe = hashlib.sha256((PATH + APT + packages).encode()).hexdigest()[:12]
    name = "localhost/cyclescope-test:" + recipe
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open("/tmp/cyclescope-test-image.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Another run may be making it.
        if _said("podman", "image", "exists", name).returncode == 0:
            return name
        mirror = _said(
            "apt-get",
            "indextargets",
            *("--format", "$(REPO_URI)", "Created-By: Packages"),
            *("Origin: Debian", "Codename: bookworm"),
        ).stdout.split()
        if not mirror:
            pytest.skip("no image for containers: apt names no mirror of bookworm")
        options = FOLDER / "apt.conf"
        options.write_text(
            APT
            + _said(
                "apt-config",
                "dump",
                *("--format", '%F "%v";%n', "Acquire::http", "Acquire::https"),
                "Acquire::Retries",
            ).stdout
        )
        tar = FOLDER / (recipe + ".tar")
        made = _said(
            "mmdebstrap",
            *("--variant=essential", "--include=" + packages),
            *("--aptopt=%s" % options, "bookworm", tar, mirror[0]),
            timeout=300,
        )
        if made.returncode != 0:
            pytest.skip("no image for containers: mmdebstrap: " + made.stderr[-300:])
        podman("import", "--quiet", "--change", "ENV " + PATH, tar, name, timeout=300)
        tar.unlink()
    return name


@contextlib.contextmanager
def use():
    """Within it podman works as the tests need it; skips by name."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    configuration = FOLDER / "containers.conf"
    configuration.write_text(CONFIGURATION)
    before = os.environ.get("CONTAINERS_CONF")
    os.environ["CONTAINERS_CONF"] = str(configuration)
    try:
        if os.geteuid() != 0:
            pytest.skip("the containers of the tests need root")
        try:
            _said("podman", "info", check=True)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip("no podman here: %s" % (getattr(error, "stderr", "") or error))
        _remove_leftovers()
        _said("podman", "run", "--rm", "--network=none", image(), "true", check=True)
        yield
    except subprocess.CalledProcessError as error:
        pytest.skip("podman starts no container here: %s" % error.stderr)
    finally:
        os.environ.pop("CONTAINERS_CONF")
        if before is not None:
            os.environ["CONTAINERS_CONF"] = before


def _remove_leftovers():
    """Containers of test runs that were killed."""
    listed = podman("ps", "--all", "--filter=label=" + LABEL, "--format=json")
    for one in json.loads(listed or "[]"):
        if not os.path.exists("/proc/" + one["Labels"][LABEL]):
            _said("podman", "rm", "--force", "--time=0", one["Id"])


@dataclasses.dataclass(frozen=True)
class Inside:
    """One of pythons.found() in containers."""

    path: str
    mounts: tuple  # Of (source, destination).
    variables: dict


def inside(python):
    """How this CPython is brought into a container."""
    if python.origin == "debian":  # The image has the same.
        return Inside(python.path, (), {})
    real = pathlib.Path(python.path).resolve()
    prefix = real.parents[1]
    if python.origin == "pyenv":
        path = "/opt/python/bin/" + real.name
        return Inside(
            path, ((prefix, "/opt/python"),), {"LD_LIBRARY_PATH": "/opt/python/lib"}
        )
    # Its loader and libraries are named by their full path.
    return Inside(str(real), ((prefix, prefix),), {})


def flags(mounts=(), variables=None, **options):
    """Of `podman run`: memory="64m" is --memory=64m, a list repeats the flag,
    True is the bare flag."""
    words = []
    for source, destination in mounts:
        words.append("--volume=%s:%s:ro" % (source, destination))
    for name, value in (variables or {}).items():
        words.append("--env=%s=%s" % (name, value))
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        for one in value if isinstance(value, (list, tuple)) else [value]:
            words.append(flag if one is True else "%s=%s" % (flag, one))
    return words


class Container:
    def __init__(self, identity):
        self.id = identity

    def inspect(self):
        return json.loads(podman("container", "inspect", self.id))[0]

    @property
    def name(self):
        return self.inspect()["Name"]

    @property
    def pid(self):
        """Of its first process, as this machine sees it."""
        return self.inspect()["State"]["Pid"]

    def exec(self, *command, **options):
        """What a command inside did, ended; podman's options come first."""
        return _said("podman", "exec", self.id, *command, **options)

    def logs(self):
        done = _said("podman", "logs", self.id)
        return done.stdout + done.stderr

    def stop(self):
        podman("stop", "--time=0", self.id)


def _remove(identity):
    # The mounts of one with mapped users are let go a moment after its end.
    remove = ["podman", "rm", "--force", "--time=0", "--volumes", identity]
    wait_until(lambda: _said(*remove).returncode == 0)


@contextlib.contextmanager
def started(*command, mounts=(), variables=None, of=None, **options):
    """A container (of the image `of`) that runs the command in the background;
    it is removed whatever happens. Options as `flags` has them."""
    options.setdefault("network", "none")
    options.setdefault("label", [])
    options["label"] = [*options["label"], "%s=%d" % (LABEL, os.getpid())]
    identity = podman(
        "create", *flags(mounts, variables, **options), of or image(), *command
    )
    try:
        podman("start", identity)
        yield Container(identity)
    finally:
        _remove(identity)


@contextlib.contextmanager
def running(
    program,
    python,
    arguments=(),
    options=(),
    says=None,
    inspected=True,
    mounts=(),
    variables=None,
    **container_options,
):
    """A fixture program as the first process of a container, as agent.running
    has it; it must end by itself in the same way. The target has `.container`
    too, and its `.pid` is as this machine sees it.

    `options` are the interpreter's, `container_options` are podman's; the
    inspector comes by PYTHONPATH unless `inspected` is false.
    """
    has = inside(python)
    variables = {**has.variables, **(variables or {})}
    mounts = [*has.mounts, (PROGRAMS, "/opt/programs"), *mounts]
    if inspected:
        mounts.append((HOOK, INSIDE))
        before = variables.get("PYTHONPATH")
        variables["PYTHONPATH"] = INSIDE + (":" + before if before else "")
    container_options.setdefault("network", "none")
    labels = container_options.pop("label", [])
    identity = podman(
        "create",
        "--interactive",
        *flags(mounts, variables, **container_options),
        *flags(label=[*labels, "%s=%d" % (LABEL, os.getpid())]),
        image(),
        has.path,
        *options,
        "/opt/programs/" + program,
        *map(str, arguments),
    )
    with tempfile.TemporaryFile("w+") as stderr:

        def said():
            return os.pread(stderr.fileno(), 1 << 24, 0).decode()

        process = None
        try:
            process = subprocess.Popen(
                ["podman", "start", "--attach", "--interactive", identity],
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
            line = process.stdout.readline()
            assert line == "ready\n", line + said()
            container = Container(identity)
            pid = container.pid
            target = Target(process, pathlib.Path("/proc/%d/root/run" % pid))
            target.container = container
            target.pid = pid
            target.socket_path = str(_socket(pid, variables)) if inspected else None
            target.stderr = said
            yield target
            assert process.poll() is None, "the target died while it was inspected"
            process.stdin.close()
            assert process.wait(timeout=30) == 0
            assert says(said()) if says else said() == "", said()
        finally:
            try:
                _remove(identity)
            finally:
                if process is not None:
                    process.kill()
                    process.wait()
                    process.stdout.close()


def _socket(pid, variables):
    """Where the inspector of a container's first process listens."""
    folders = ["/run", "/tmp", "/dev/shm"]
    if "CYCLESCOPE_DIR" in variables:
        folders = [str(variables["CYCLESCOPE_DIR"])]
    paths = ["/proc/%d/root%s/cyclescope-1.sock" % (pid, folder) for folder in folders]
    return wait_until(lambda: next(filter(os.path.exists, paths), None))


class Rootless:
    """podman of a user who has no rights beyond a range of user ids."""

    def __init__(self, folder):
        self.folder = folder
        home, ids = folder / "home", folder / "subuid"
        for made in (home, folder / "run"):
            made.mkdir(mode=0o700)
            os.chown(made, NOBODY, NOBODY)
        ids.write_text("nobody:1000000:65536\n")
        # The range is known in the mount namespace of each command only.
        mount = "mount --bind %s /etc/subuid && mount --bind %s /etc/subgid && " % (ids, ids)
        self.prefix = [
            *("unshare", "--mount", "sh", "-c", mount + 'cd "$HOME" && exec "$0" "$@"'),
            *as_nobody(),
        ]
        self.environment = {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "STORAGE_DRIVER": "overlay",  # vfs would copy the image each time.
            "PATH": os.environ["PATH"],
        }
        (folder / "containers.conf").write_text(CONFIGURATION)

    def run(self, *command, **options):
        """A command of that user's, ended."""
        return _said(*self.prefix, *command, env=self.environment, **options)

    def podman(self, *arguments, **options):
        done = self.run("podman", *arguments, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def end(self):
        self.run("podman", "rm", "--all", "--force", "--time=0")
        # The process that keeps the user namespace.
        pause = self.folder / "run" / "libpod" / "tmp" / "pause.pid"
        if pause.exists():
            os.kill(int(pause.read_text()), signal.SIGKILL)


@contextlib.contextmanager
def rootless():
    """A Rootless that has the image; skips by name."""
    if not all(map(shutil.which, ("newuidmap", "newgidmap"))):
        pytest.skip("no rootless podman here: newuidmap is missing (Debian: uidmap)")
    with tempfile.TemporaryDirectory(prefix="cs-", dir="/tmp") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        tar = folder / "image.tar"
        podman("save", "--quiet", "--output", tar, image(), timeout=120)
        tar.chmod(0o644)
        user = Rootless(folder)
        try:
            loaded = user.run("podman", "load", "--quiet", "--input", tar, timeout=120)
            if loaded.returncode != 0:
                pytest.skip("no rootless podman here: " + loaded.stderr)
            tar.unlink()
            yield user
        finally:
            user.end()


@contextlib.contextmanager
def api_socket():
    """The path of a socket that podman's API, also the docker-compatible one,
    answers on."""
    with tempfile.TemporaryDirectory(prefix="cs-") as folder:
        path = os.path.join(folder, "podman.sock")
        process = subprocess.Popen(
            ["podman", "system", "service", "--time=0", "unix://" + path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: os.path.exists(path), 30)
            yield path
        finally:
            process.terminate()
            process.wait()
