"""`ps`: which processes are Pythons, where, and which ways into them are open."""

import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import time

import pytest
from support import agent, containers, pythons
from support.agent import NOBODY, as_nobody, ask, running, tool, wait_until

# Python 2 understands it, too.
WAITING = (
    "import sys; sys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.read()"
)
PTRACE_SEIZE = 0x4206


@contextlib.contextmanager
def waiting(*command, **options):
    """A command that prints `ready` and ends with its stdin."""
    process = subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("ready"), line
        process.said = line
        yield process
        assert process.poll() is None, "it died while it was looked at"
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def listed(pid, **options):
    """What ps says of a process; None if it does not list it."""
    found = tool("ps", "--json", **options)
    assert found.returncode == 0, found.stderr
    return entry(json.loads(found.stdout), pid)


def entry(report, pid):
    return next((one for one in report["processes"] if one["pid"] == pid), None)


def why_not(process, way):
    """The reason why a way is closed; it is in its own words where it is."""
    assert process["ways"][way]["open"] is (process["ways"][way]["why_not"] is None)
    return process["ways"][way]["why_not"]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Compiles C into a program and says its path."""
    folder = tmp_path_factory.mktemp("compiled")

    def compile_program(name, source, *options):
        if not shutil.which("gcc"):
            pytest.skip("no gcc here")
        (folder / (name + ".c")).write_text(source)
        subprocess.run(
            ["gcc", "-o", folder / name, folder / (name + ".c"), *options], check=True
        )
        return folder / name

    return compile_program


@pytest.mark.parametrize("any_of_all", pythons.found(), ids=lambda python: python.name)
def test_version_and_build_are_told_of_every_python(any_of_all):
    python = any_of_all
    with waiting(python.path, "-c", WAITING) as process:
        found = listed(process.pid)
    version = ".".join(map(str, python.version))
    if python.version >= (3, 11):
        assert found["python"] == version
    else:  # It has no better figure in its files.
        assert version.startswith(found["python"] + ".")
    assert found["supported"] is python.is_supported
    assert found["free_threaded"] is ("t" in python.flags)
    assert found["build"] == ("debug" if "d" in python.flags else "release")
    assert found["program"] == "-c"
    assert found["container"] is None and found["inspector"] is False
    assert (found["unsupported"] is None) is python.is_supported
    assert found["ways"]["env"]["open"] is python.is_supported
    assert found["rss"] > found["anon"] > 1 << 20
    has_remote_debug = python.is_supported and python.version >= (3, 14)
    assert (why_not(found, "remote_debug") is None) is has_remote_debug


def test_inspector_and_its_socket_are_told(python, agent_directory):
    with running("three_cycles.py", python, agent_directory) as target:
        found = listed(target.pid)
        assert found["inspector"] is True
        assert os.path.samefile(found["socket"], target.socket_path)
        assert found["program"] == "three_cycles.py"
        table = tool("ps").stdout
    [line] = [line for line in table.splitlines() if line.split()[:1] == [str(target.pid)]]
    assert " yes " in line and " env" in line and "three_cycles.py" in line


def test_names_of_files_do_not_matter(any_python, tmp_path):
    renamed = tmp_path / "worker"
    shutil.copy(any_python.path, renamed)
    other = tmp_path / "python3.12"
    shutil.copy("/bin/cat", other)
    with waiting(renamed, "-c", WAITING, env={**os.environ, "PYTHONHOME": "/usr"}) as one:
        with subprocess.Popen([other], stdin=subprocess.PIPE) as two:
            report = ask("ps")
            two.stdin.close()
        found = entry(report, one.pid)
        assert found["python"] == ".".join(map(str, any_python.version))
        assert found["embedded"] is True and found["binary"] == str(renamed)
        assert entry(report, two.pid) is None


def test_python_whose_program_was_deleted(any_python, tmp_path, tool_for_all):
    """By anybody who may look into it at all."""
    copy = tmp_path / "python3"
    shutil.copy(any_python.path, copy)
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    version = ".".join(map(str, any_python.version))
    with waiting(*as_nobody(copy, "-c", WAITING)) as process:
        copy.unlink()
        for by in [[agent.TOOL], as_nobody(tool_for_all)]:
            done = subprocess.run([*by, "ps", "--json"], capture_output=True, text=True)
            found = entry(json.loads(done.stdout), process.pid)
            assert found["python"] == version, done.stdout
            assert found["binary_deleted"] is True


def test_python_whose_library_was_deleted(tmp_path):
    """As after an upgrade under a running service."""
    linked = [python for python in pythons.supported() if python.origin == "pyenv"]
    if not linked:
        pytest.skip("no Python here is linked to a libpython")
    python = linked[-1]
    real = pathlib.Path(python.path).resolve()
    [library] = (real.parents[1] / "lib").glob("libpython%d.%d.so.*" % python.version[:2])
    copy = shutil.copy(library, tmp_path)
    # Before the path that the program itself has for it.
    variables = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    with waiting(python.path, "-c", WAITING, env=variables) as process:
        os.unlink(copy)
        found = listed(process.pid)
    assert found["python"] == ".".join(map(str, python.version))
    assert found["binary"] == str(copy) and found["binary_deleted"] is True


def test_deleted_library_that_only_root_can_read(compiled, tool_for_all):
    stand_in = STAND_IN % (0x030C01F0, 0, "")
    options = ["-shared", "-fPIC", "-Dmain=stand_in", "-Wl,-soname=libstandin.so"]
    library = compiled("libstandin.so", stand_in, *options)
    copy = shutil.copy(library, tool_for_all.parent / "libstandin.so")
    main = "int stand_in(void); int main(void) { return stand_in(); }"
    linked = compiled("linked", main, library)
    program = shutil.copy(linked, tool_for_all.parent / "linked")
    variables = {**os.environ, "LD_LIBRARY_PATH": str(tool_for_all.parent)}
    with waiting(*as_nobody(program), env=variables) as process:
        os.unlink(copy)
        seen = listed(process.pid)
        done = subprocess.run(
            as_nobody(tool_for_all, "ps", "--json"), capture_output=True, text=True
        )
        text = subprocess.run(as_nobody(tool_for_all, "ps"), capture_output=True, text=True)
    assert seen["python"] == "3.12.1" and seen["binary_deleted"] is True
    report = json.loads(done.stdout)
    assert entry(report, process.pid) is None and report["unsure"] == 1
    assert "1 process has a deleted file mapped that may not be read" in text.stdout


def test_program_that_embeds_python(compiled):
    config = shutil.which("python3.11-config", path="/usr/bin")
    if not config:
        pytest.skip("no python3-dev here")
    words = {
        which: subprocess.check_output([config, "--embed", which], text=True).split()
        for which in ("--includes", "--ldflags")
    }
    program = compiled(
        "embeds",
        """
        #include <Python.h>
        int main(void) {
          Py_InitializeEx(0);
          return PyRun_SimpleString("import sys; print('ready', flush=True)\\n"
                                    "sys.stdin.read()");
        }
        """,
        *words["--includes"],
        *words["--ldflags"],
    )
    with waiting(program) as process:
        found = listed(process.pid)
    assert found["embedded"] is True and found["python"].startswith("3.11.")
    assert found["program"] == "embeds"


# There is no such interpreter on most machines: what they publish of
# themselves, in a program that only waits.
STAND_IN = """
#include <stdio.h>
#include <unistd.h>
#define RUNTIME __attribute__((used, section(".PyRuntime")))
RUNTIME struct { char cookie[8]; unsigned long version, free_threaded; }
_PyRuntime = {"xdebugpy", 0x%08x, %d};
void Py_InitializeEx(int signals) { (void)signals; }
%s
int main(void) { puts("ready"); fflush(stdout); return getchar() == 7; }
"""


@pytest.mark.parametrize(
    "hex, free_threaded, more, version, build, option",
    [
        (0x030D05F0, 1, "", "3.13.5", "release", "-rdynamic"),
        (0x030F00B2, 0, "", "3.15.0b2", "release", "-rdynamic"),
        (0x030E04F0, 0, "", "3.14.4", "release", "-rdynamic"),
        (0x030C01F0, 0, "void _Py_NegativeRefcount(void) {}", "3.12.1", "debug", "-rdynamic"),
        (0x030D05F0, 1, "", "3.13.5", "release", "-s"),  # The section alone.
    ],
)
def test_builds_are_told_by_what_they_publish(
    compiled, hex, free_threaded, more, version, build, option
):
    name = "stand_in_%x%s" % (hex, option)
    program = compiled(name, STAND_IN % (hex, free_threaded, more), option)
    with waiting(program) as process:
        found = listed(process.pid)
    assert (found["python"], found["build"]) == (version, build)
    assert found["free_threaded"] is bool(free_threaded)
    assert found["supported"] is False
    assert all("is not supported" in why_not(found, way) for way in found["ways"])


def test_options_of_the_interpreter_close_the_environment(any_python, tmp_path):
    """The oracle is what Python itself makes of random options."""
    script = tmp_path / "flags.py"
    script.write_text(
        "import sys\n"
        "print('ready', sys.flags.ignore_environment, sys.flags.no_site, flush=True)\n"
        "sys.stdin.read()\n"
    )
    choices = ["-I", "-E", "-S", "-s", "-B", "-q", "-u", "-O", "-bb", "-IBu", "-uS", "-vE"]
    choices += ["-Wignore", "-W", "-Xdev", "-X", "-OOsE", "-BWerror", "--check-hash-based-pycs"]
    values = {"-W": "ignore::ImportWarning:E", "-X": "utf8", "--check-hash-based-pycs": "never"}
    generator = random.Random(5)
    seen = set()
    for _ in range(30):
        options = []
        for option in generator.sample(choices, generator.randrange(5)):
            options += [option] + ([values[option]] if option in values else [])
        with waiting(any_python.path, *options, script, "-I", stderr=subprocess.DEVNULL) as one:
            _, ignores, no_site = one.said.split()
            found = listed(one.pid)
        closed = int(ignores) or int(no_site)
        seen.add(bool(closed))
        assert found["ways"]["env"]["open"] is not bool(closed), options
        assert found["program"] == "flags.py"
    assert seen == {True, False}


# The last three: longer than needed, a surrogate, past the last character.
ODD_NAMES = [b"a\x1b[31mb.py", b"a\tb\nc", b"\xc2\x9b31m", b"\xff\xfe", b"\xe2\x82", "ü€😀.py".encode()]
ODD_NAMES += [b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"x" * 200]


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_odd_names_reach_no_terminal(any_python, tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), name.replace(b"/", b"?"))
    with open(path, "w") as script:
        script.write("print('ready', flush=True)\nimport sys; sys.stdin.read()\n")
    with subprocess.Popen(
        [any_python.path, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        found = listed(process.pid)
        table = tool("ps").stdout  # Decoding it would fail on what is no UTF-8.
        process.stdin.close()
    # The oracle is Python's own decoder; of one bad sequence it makes one or
    # more marks.
    expected = "".join(
        mark if mark.isprintable() and mark != "\ufffd" else "?"
        for mark in name.decode(errors="replace")
    )
    if len(name) > 60:
        assert found["program"] == "x" * 60 + "…"
    else:
        assert re.sub(r"\?+", "?", found["program"]) == re.sub(r"\?+", "?", expected)
    assert all(mark.isprintable() for line in table.splitlines() for mark in line)


def test_a_switched_off_inspector_is_told(any_python, agent_directory):
    variables = agent.environment(agent_directory, CYCLESCOPE="0")
    with waiting(any_python.path, "-c", WAITING, env=variables) as process:
        found = listed(process.pid)
    assert found["inspector"] is False
    assert "CYCLESCOPE=0" in why_not(found, "env")


@pytest.mark.parametrize(
    "options, variables",
    [
        ([], {}),
        (["-Xdisable-remote-debug"], {}),
        (["-X", "disable-remote-debug=0"], {}),
        (["-X", "disable_remote_debug"], {}),
        ([], {"PYTHON_DISABLE_REMOTE_DEBUG": ""}),
        ([], {"PYTHON_DISABLE_REMOTE_DEBUG": "1"}),
        (["-E"], {"PYTHON_DISABLE_REMOTE_DEBUG": "1"}),
    ],
)
def test_remote_debugging_is_open_where_python_says_so(options, variables):
    """The oracle is sys.remote_exec itself."""
    new = [python for python in pythons.supported() if python.version >= (3, 14)]
    if not new:
        pytest.skip("no CPython 3.14.5 or later here")
    python = new[0].path
    with waiting(python, *options, "-c", WAITING, env={**os.environ, **variables}) as process:
        found = listed(process.pid)
        sent = subprocess.run(
            [python, "-c", "import sys; sys.remote_exec(%d, '/dev/null')" % process.pid],
            capture_output=True,
            text=True,
        )
    assert found["ways"]["remote_debug"]["open"] is (sent.returncode == 0), sent.stderr
    assert found["ways"]["attach"]["open"] is True


def test_a_debugger_closes_attaching(any_python):
    """Traced by a process that does nothing else, named in the reason."""
    tracer = (
        "import ctypes, sys\n"
        "ptrace = ctypes.CDLL(None, use_errno=True).ptrace\n"
        "assert ptrace(%d, int(sys.argv[1]), None, None) == 0\n" % PTRACE_SEIZE
    ) + WAITING
    with waiting(any_python.path, "-c", WAITING) as process:
        assert why_not(listed(process.pid), "attach") is None
        with waiting(sys.executable, "-c", tracer, str(process.pid)) as debugger:
            reason = why_not(listed(process.pid), "attach")
        assert "process %d (python" % debugger.pid in reason and "traces it" in reason


KINDS = {
    "default": {},
    "no-capabilities": {"cap_drop": "ALL"},
    "read-only-uid-1001": {"read_only": True, "user": "1001"},
    "random-uid": {"user": "1000780000:0", "read_only": True, "cap_drop": "ALL"},
    "little": {"memory": "80m", "cpus": "0.2"},
    "mapped-users": {"uidmap": "0:100000:65536", "gidmap": "0:100000:65536"},
    "own-pids-of-the-host": {"pid": "host"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", ["command", "socket"])
def test_container_is_named(podman, podman_socket, any_python, kind, by, monkeypatch):
    if by == "socket":
        monkeypatch.setenv("CONTAINER_HOST", "unix://" + podman_socket)
    is_shared = kind == "own-pids-of-the-host"
    with podman.running(
        "three_cycles.py", any_python, inspected=not is_shared, **KINDS[kind]
    ) as target:
        report = ask("ps")
        found = entry(report, target.pid)
        name, identity = target.container.name, target.container.id
        # A Python that someone starts inside has the container's name, too.
        with waiting(
            *("podman", "exec", "-i", identity, "python3", "-c", WAITING)
        ):
            inside = [
                one
                for one in ask("ps")["processes"]
                if one["container"] and one["container"]["id"] == identity
            ]
    assert found["container"] == {"engine": "podman", "name": name, "id": identity}
    assert found["pid_in_namespace"] == (target.pid if is_shared else 1)
    assert found["inspector"] is not is_shared
    assert (found["socket"] is None) is is_shared
    assert found["ways"]["exec"]["open"] is True
    assert found["ways"]["attach"]["open"] is True
    assert sorted(one["program"] for one in inside) == ["-c", "three_cycles.py"]
    [engine] = [one for one in report["engines"] if one["problem"] is None]
    assert engine["name"] == "podman"
    assert engine["socket"] == (podman_socket if by == "socket" else None)
    assert engine["version"] in podman.podman("--version")


def test_container_on_each_python(podman, python):
    with podman.running("three_cycles.py", python) as target:
        found = listed(target.pid)
    assert found["python"] == ".".join(map(str, python.version))
    assert found["inspector"] is True and found["pid_in_namespace"] == 1
    assert found["container"]["engine"] == "podman"


def test_another_user_sees_less_and_is_told_why(podman, any_python, tool_for_all):
    def seen_by_nobody():
        done = subprocess.run(
            [*as_nobody(tool_for_all), "ps", *options], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    with podman.running("three_cycles.py", any_python) as target:
        with waiting(*as_nobody("/usr/bin/python3", "-c", WAITING)) as own:
            options = ["--json"]
            report = json.loads(seen_by_nobody())
            options = []
            text = seen_by_nobody()
        identity = target.container.id
    assert [one["pid"] for one in report["processes"]] == [own.pid]
    assert report["processes"][0]["ways"]["attach"]["open"] is True
    hidden = {one["container"]: one["count"] for one in report["hidden"]}
    assert hidden[identity[:12]] == 1 and hidden[None] > 1
    assert "of container %s of other users" % identity[:12] in text
    assert "run cyclescope as root" in text
    # It has not so much as started the engine of that user.
    [engine] = report["engines"]
    assert "podman has no containers of this user" in engine["problem"]


def test_user_of_the_containers_process_sees_it_without_its_name(
    podman, any_python, tool_for_all
):
    with podman.running("three_cycles.py", any_python, user=str(NOBODY)) as target:
        done = subprocess.run(
            [*as_nobody(tool_for_all), "ps", "--json"], capture_output=True, text=True
        )
        found = entry(json.loads(done.stdout), target.pid)
        identity = target.container.id
    assert found["container"] == {"engine": None, "name": identity[:12], "id": identity}
    assert "no container engine that answers" in why_not(found, "exec")


def test_user_with_the_engines_socket_gets_names_and_snapshots(
    podman, podman_socket, any_python, tool_for_all, tmp_path
):
    """Also of processes that this user may not look into."""
    os.chown(tmp_path, NOBODY, NOBODY)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    variables = {
        **os.environ,
        "DOCKER_HOST": "unix://" + podman_socket,
        "HOME": str(tmp_path),
    }

    def of_nobody(*arguments):
        done = subprocess.run(
            as_nobody(tool_for_all, *arguments, "--json"),
            capture_output=True,
            text=True,
            env=variables,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    parent = pathlib.Path(podman_socket).parent
    parent.chmod(0o755)
    os.chmod(podman_socket, 0o666)
    try:
        with podman.running("three_cycles.py", any_python, user=str(NOBODY)) as target:
            found = entry(of_nobody("ps"), target.pid)
            assert found["container"]["name"] == target.container.name
            assert found["ways"]["exec"]["open"] is True
        with podman.running("three_cycles.py", any_python) as target:
            report = of_nobody("ps")
            name = target.container.name
            assert entry(report, target.pid) is None
            assert {"container": name, "count": 1} in report["hidden"]
            snapshot = of_nobody("snapshot", name)
    finally:
        os.chmod(podman_socket, 0o600)
        parent.chmod(0o700)
    assert any(cycle["signature"] == "Hub → Hub" for cycle in snapshot["cycles"])


def test_rootless_container_is_named_for_its_user(rootless, tool_for_all):
    """There its cgroup is the user's own; only namespaces tell it."""
    hook = tool_for_all.parents[1] / "lib" / "cyclescope"
    identity = rootless.podman(
        *("run", "--detach", "--name=service", "--network=none"),
        *podman_flags(hook),
        containers.image(),
        *("python3", "-c", "import time; time.sleep(600)"),
    )
    pid = int(rootless.podman("inspect", "--format={{.State.Pid}}", identity))
    wait_until(lambda: "/_cyclescope" in pathlib.Path("/proc/%d/maps" % pid).read_text())

    def seen():
        report = json.loads(rootless.run(tool_for_all, "ps", "--json").stdout)
        return report, entry(report, pid)

    report, found = wait_until(lambda: seen() if seen()[1]["socket"] else None)
    assert found["container"] == {"engine": "podman", "name": "service", "id": identity}
    assert found["pid_in_namespace"] == 1 and found["inspector"] is True
    assert found["ways"]["exec"]["open"] is True
    assert found["ways"]["attach"]["open"] is True
    assert [one["problem"] for one in report["engines"]] == [None]
    doctor = json.loads(rootless.run(tool_for_all, "doctor", "--json").stdout)["checks"]
    assert "by its command" in next(one for one in doctor if one["check"] == "podman")["finding"]
    # root's engine does not know it, and it may run in a cgroup of no name.
    found = listed(pid)
    assert found["container"]["engine"] is None
    assert "no container engine that answers" in why_not(found, "exec")


def podman_flags(hook):
    return containers.flags(
        mounts=[(hook, containers.INSIDE)], variables={"PYTHONPATH": containers.INSIDE}
    )


def test_an_engine_that_hangs_costs_seconds_and_a_sentence(tmp_path):
    import socket

    path = str(tmp_path / "e.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(5)
        begin = time.monotonic()
        done = tool("ps", "--json", env={**os.environ, "DOCKER_HOST": "unix://" + path})
        took = time.monotonic() - begin
    [engine] = [one for one in json.loads(done.stdout)["engines"] if one["socket"] == path]
    assert "does not answer" in engine["problem"]
    assert took < 8


def test_processes_and_containers_that_go_meanwhile(podman, any_python):
    begin_and_end = (
        "print('ready', flush=True)\n"
        "import subprocess, sys, threading\n"
        "def churn():\n"
        "    while True: subprocess.run([sys.executable, '-S', '-c', ''])\n"
        "threading.Thread(target=churn, daemon=True).start()\n"
        "sys.stdin.read()\n"
    )
    come_and_go = (
        "echo ready; while podman run --rm --network=none --label %s=%d %s true; "
        "do :; done 2>/dev/null"
    ) % (podman.LABEL, os.getpid(), podman.image())
    with waiting(any_python.path, "-c", begin_and_end) as process:
        with waiting("sh", "-c", come_and_go):
            for _ in range(20):
                report = ask("ps")
                assert entry(report, process.pid)["program"] == "-c"
                assert report["engines"][0]["problem"] is None


def test_hundreds_of_processes_are_all_listed(any_python):
    code = (
        "import os, signal, time\n"
        "children = []\n"
        "for _ in range(300):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        signal.pause()\n"
        "    children.append(child)\n"
        "print('ready', *children, flush=True)\n"
        "import sys; sys.stdin.read()\n"
        "for child in children: os.kill(child, signal.SIGKILL)\n"
    )
    process = subprocess.Popen(
        [any_python.path, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    children = []
    try:
        children = [int(word) for word in process.stdout.readline().split()[1:]]
        report = ask("ps")
    finally:
        process.communicate("")
    assert len(children) == 300
    assert set(children) <= {one["pid"] for one in report["processes"]}
