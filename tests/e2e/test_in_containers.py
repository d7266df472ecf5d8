"""The inspector in real containers, under every restriction that services get,
from a host that sees all and from one that sees nothing."""

import json
import os
import pathlib
import random
import shutil
import sqlite3
import subprocess
import time

import pytest
from support import containers, through
from support.agent import HOOK, TOOL, tool, wait_until

PROGRAM = "three_cycles.py"
MIB = 1 << 20


@pytest.fixture(scope="module", autouse=True)
def podman():
    with containers.use():
        yield


@pytest.fixture(scope="module")
def need(any_python):
    """What the service takes of a memory limit, in bytes."""
    with containers.running(PROGRAM, any_python) as target:
        status = pathlib.Path("/proc/%d/status" % target.pid).read_text()
    [rss] = [int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line]
    return rss << 10


HIGH = random.Random(6).randrange(1_000_000, 2_000_000_000)
RESTRICTIONS = {
    "default": {},
    "cap-drop": {"cap_drop": "ALL"},
    "read-only": {"read_only": True},
    "uid-1001": {"user": 1001},
    "high-uid": {"user": HIGH},
    "64-MiB": {"memory": 64 * MIB},
    "fifth-of-a-core": {"cpus": "0.2"},
    "all": {
        "cap_drop": "ALL",
        "read_only": True,
        "user": "%d:0" % HIGH,
        "security_opt": "no-new-privileges",
        "memory": 64 * MIB,
        "cpus": "0.2",
    },
}


@pytest.fixture(params=RESTRICTIONS)
def restricted(request, need):
    options = dict(RESTRICTIONS[request.param])
    if "memory" in options:
        options["memory"] += need
    return options


def said(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def recorded(run):
    """(series: mean), the memory's source."""
    with sqlite3.connect(run / "run.db") as store:
        series = store.execute(
            "select name, avg(value) from sample join series on series.id = series group by name"
        ).fetchall()
        [(source,)] = store.execute("select memory_source from service").fetchall()
        events = dict(store.execute("select kind, text from event"))
    assert "finished" in events and "snapshot_failed" not in events, events
    return dict(series), source


def assert_known_heap(report):
    [watched] = [entry for entry in report["watched"] if entry["type"] == "__main__.Hub"]
    assert watched["alive"] == watched["pinned"] == 1
    assert report["taken"]["pause_us"] < 1_000_000


def test_by_its_name(restricted, any_python, tmp_path):
    with containers.running(PROGRAM, any_python, **restricted) as target:
        name = target.container.name
        report = said(tool("snapshot", name, "--watch", "__main__.Hub", "--json"))
        assert_known_heap(report)
        assert report["process"]["pid"] == target.pid
        assert report["process"]["pid_in_namespace"] == 1
        assert report["process"]["container"]["name"] == name
        assert report["process"]["container"]["engine"] == "podman"
        assert not [limit for limit in report["limits"] if "container" in limit["field"]]

        run = tmp_path / "run"
        said(tool("record", name, "--output", run, "--for", "3s", "--interval", "500ms", "--json"))
        figures, source = recorded(run)
        assert MIB < figures["memory.anon"] < figures["memory.rss"] * 1.2
        assert "cgroup" in source

        [row] = [row for row in said(tool("ps", "--json"))["processes"] if row["pid"] == target.pid]
        assert row["inspector"] is True

        result = said(tool("selftest", name, "--json", timeout=60))
        assert result["verified"] is True
        if "user" in restricted:
            assert result["uid"] == int(str(restricted["user"]).partition(":")[0])
        assert tool("selftest", target.container.id[:12]).stdout.endswith("verified here\n")


@pytest.fixture
def stranger(tmp_path_factory):
    """The tool for a user who sees neither the container's files nor the
    cgroups, and may run nothing but `exec` through somebody else's door."""
    folder = tmp_path_factory.mktemp("stranger")
    for parent in [folder, *folder.parents]:
        if str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    shutil.copytree(HOOK, folder / "lib" / "cyclescope", ignore=shutil.ignore_patterns("*.pyc"))
    (folder / "bin").mkdir()
    shutil.copy(TOOL, folder / "bin")
    shutil.copy(through.__file__, folder)
    (folder / "mine").mkdir()
    os.chown(folder / "mine", 65534, 65534)

    class Stranger:
        mine = folder / "mine"

        def run(self, *arguments, **options):
            options.setdefault("timeout", 60)
            hidden = "mount -t tmpfs none /sys/fs/cgroup && exec setpriv --reuid 65534 --regid 65534 --clear-groups -- \"$@\""
            return subprocess.run(
                ["unshare", "--mount", "sh", "-c", hidden, "sh", *map(str, arguments)],
                capture_output=True,
                text=True,
                cwd=self.mine,
                env={"PATH": "/usr/bin:/bin", "HOME": str(self.mine)},
                **options,
            )

        def tool(self, *arguments, **options):
            return self.run(folder / "bin" / "cyclescope", *arguments, **options)

        def target(self, door):
            return "exec:/usr/bin/python3 %s/through.py %s" % (folder, door)

    return Stranger()


def test_by_exec_alone(restricted, any_python, stranger, agent_directory):
    door = str(agent_directory / "door")
    os.chmod(agent_directory, 0o755)
    with containers.running(PROGRAM, any_python, **restricted) as target:
        name = target.container.name
        for closed in ("/proc/%d/root/" % target.pid, "/sys/fs/cgroup/memory"):
            assert stranger.run("ls", closed).returncode != 0
        assert stranger.tool("snapshot", target.pid).returncode == 1
        with through.serving(door, ["podman", "exec", "-i", name]):
            place = stranger.target(door)
            report = said(stranger.tool("snapshot", place, "--watch", "Hub", "--json"))
            assert_known_heap(report)
            assert report["process"]["pid_in_namespace"] == 1

            heap = stranger.mine / "service.heap"
            said(stranger.tool("snapshot", place, "--heap", heap, "--json"))
            direct = stranger.mine / "direct.heap"
            said(tool("snapshot", target.pid, "--heap", direct, "--json"))
            tops = [said(tool("top", path, "--top", "5", "--json")) for path in (heap, direct)]
            assert tops[0]["types"] == tops[1]["types"]
            assert tops[0]["cycles"] == tops[1]["cycles"]

            run = stranger.mine / "run"
            said(
                stranger.tool(
                    "record", place, "--output", run, "--for", "3s", "--interval", "500ms", "--json"
                )
            )
            figures, source = recorded(run)
            assert MIB < figures["memory.anon"] < figures["memory.rss"]
            assert "inspector" in source

            result = said(stranger.tool("selftest", place, "--json"))
            assert result["verified"] is True
        left = target.container.exec("ps", "-e", "-o", "comm=").stdout
        assert "relay" not in left


def test_on_every_python(python):
    options = RESTRICTIONS["all"] | {"memory": 256 * MIB}
    with containers.running(PROGRAM, python, **options) as target:
        place = "exec:podman exec -i %s" % target.container.name
        for name in (target.container.name, place):
            assert_known_heap(said(tool("snapshot", name, "--watch", "Hub", "--json")))
            assert said(tool("selftest", name, "--json"))["verified"] is True


def test_another_user_namespace(any_python):
    with containers.running(PROGRAM, any_python, uidmap="0:200000:65536", user=77) as target:
        status = pathlib.Path("/proc/%d/status" % target.pid).read_text()
        assert "\nUid:\t200077\t" in status
        for name in (target.pid, target.container.name):
            assert_known_heap(said(tool("snapshot", name, "--watch", "Hub", "--json")))


def test_two_containers_that_share_the_directory_of_their_sockets(any_python, agent_directory):
    """Both are process 1 to themselves."""
    shared = {
        "volume": ["%s:/shared" % agent_directory],
        "variables": {"CYCLESCOPE_DIR": "/shared"},
    }
    with containers.running(PROGRAM, any_python, **shared) as one:
        with containers.running(PROGRAM, any_python, **shared) as two:
            for target in (one, two):
                place = "exec:podman exec -i " + target.container.name
                for name in (target.pid, target.container.name, place):
                    report = said(tool("snapshot", name, "--json"))
                    assert report["process"]["pid"] in (target.pid, 1)
                    assert_known_heap(said(tool("snapshot", name, "--watch", "Hub", "--json")))
            names = sorted(path.name for path in agent_directory.iterdir())
            assert len(names) == 2 and names[0].startswith("cyclescope-1-")
    assert list(agent_directory.iterdir()) == []


def test_two_containers_that_share_a_pid_namespace(any_python):
    with containers.running(PROGRAM, any_python) as one:
        two = containers.started(
            "/usr/bin/python3", "-c", "import time\ntime.sleep(600)",
            pid="container:" + one.container.id,
            mounts=[(HOOK, containers.INSIDE)],
            variables={"PYTHONPATH": containers.INSIDE},
        )
        with two as other:
            wait_until(lambda: tool("snapshot", other.id).returncode == 0)
            for container in (one.container, other):
                report = said(tool("snapshot", container.id, "--json"))
                assert report["process"]["pid"] == container.pid


def test_a_paused_container_is_told_of(any_python):
    with containers.running(PROGRAM, any_python) as target:
        containers.podman("pause", target.container.id)
        try:
            told = tool("snapshot", target.container.id).stderr
        finally:
            containers.podman("unpause", target.container.id)
        assert "is not running but paused; unpause it" in told


def test_a_container_that_stops_in_the_middle(any_python, agent_directory):
    place = "exec:podman exec -i %s"
    with containers.started(
        "/usr/bin/python3",
        "-c",
        "import time\nkeep = [[] for _ in range(1500000)]\nprint('ready', flush=True)\ntime.sleep(600)",
        mounts=[(HOOK, containers.INSIDE)],
        variables={"PYTHONPATH": containers.INSIDE},
        cpus="0.3",
    ) as container:
        wait_until(lambda: "ready" in container.logs(), 60)
        heap = agent_directory / "never.heap"
        command = [TOOL, "snapshot", place % container.name, "--heap", heap]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            wait_until(lambda: list(agent_directory.glob("*.part")))
            time.sleep(0.5)
            container.stop()
            stdout, stderr = process.communicate(timeout=30)
        assert "is not running but exited" in tool("snapshot", container.id).stderr
    assert process.returncode == 1 and stdout == ""
    [line] = [line for line in stderr.splitlines() if line.startswith("cyclescope:")]
    assert "ended before the answer" in line
    assert list(agent_directory.iterdir()) == []


def test_names_that_are_wrong_get_a_sentence(any_python):
    with containers.running(PROGRAM, any_python, inspected=False) as target:
        name = target.container.name
        for wrong, words in {
            name: "there is no inspector in container " + name,
            name + "@9": "there is no inspector in process 9 of container " + name,
            "exec:podman exec -i " + name: "cyclescope-relay",
            "no-such-container": "no container, compose project, pid or socket",
            "label:no-such=label": "no container has the label",
            str(target.pid): "there is no inspector in process",
        }.items():
            done = tool("snapshot", wrong)
            assert done.returncode == 1 and words in done.stderr, (wrong, done.stderr)
            assert done.stderr.count("\n") == 1 and done.stdout == ""


def test_all_of_a_project_and_of_a_label(any_python):
    labels = ["com.docker.compose.project=cs-project", "team=cs"]
    with containers.running(PROGRAM, any_python, label=labels) as one:
        with containers.running(PROGRAM, any_python, label=labels) as two:
            done = tool("snapshot", "cs-project")
            assert done.returncode == 1 and "--all" in done.stderr
            assert one.container.name in done.stderr and two.container.name in done.stderr
            for name in ("cs-project", "label:team=cs"):
                lines = tool("snapshot", name, "--all", "--json").stdout.splitlines()
                pids = {json.loads(line)["process"]["pid"] for line in lines}
                assert pids == {one.pid, two.pid}
            assert one.container.name in tool("snapshot", "cs-project", "--all").stdout
        assert tool("snapshot", "cs-project", "--json").returncode == 0
