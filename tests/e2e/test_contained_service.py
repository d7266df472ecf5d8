"""The real rules-processing in a container with the restrictions that
OpenShift's restricted-v2 sets, and 64 MiB of memory more than it needs."""

import contextlib
import json
import pathlib
import subprocess
import threading

import pytest
from support import containers
from support.agent import HOOK, TOOL, tool
from support.platform import (
    BUCKET, CCX, GROUP, VENVS, free_port, platform, wait_for_http, wait_for_results,
)

ARCHIVES = 40
SPARE = 64 << 20


@pytest.fixture(scope="module", autouse=True)
def podman():
    with containers.use():
        yield


@contextlib.contextmanager
def service(broker, s3, inspected, **options):
    """The service's container, once it answers."""
    metrics = free_port()
    variables = {
        "KAFKA_SERVER": broker,
        "S3_ENDPOINT": s3,
        "S3_BUCKET": BUCKET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "METRICS_PORT": metrics,
        "PYTHONUNBUFFERED": 1,
    }
    venv = (VENVS / "before").resolve()  # As its programs know themselves.
    mounts = [(venv, venv), (CCX, CCX)]
    if inspected:
        mounts.append((HOOK, containers.INSIDE))
        variables["PYTHONPATH"] = containers.INSIDE
    with containers.started(
        venv / "bin" / "ccx-messaging",
        CCX / "rules-processing.yaml",
        mounts=mounts,
        variables=variables,
        network="host",
        read_only=True,
        cap_drop="ALL",
        security_opt="no-new-privileges",
        user=1000730000,
        **options,
    ) as container:
        with contextlib.ExitStack() as told:
            told.callback(lambda: print(container.logs()[-2000:]))
            wait_for_http("http://127.0.0.1:%d/metrics" % metrics, Container(container))
            yield container


class Container:
    """What `wait_for_http` asks a process."""

    def __init__(self, container):
        self.args = container.id
        self.container = container

    def poll(self):
        state = self.container.inspect()["State"]
        return None if state["Running"] else state["ExitCode"]


def load(broker, s3, seed):
    subprocess.run(
        [
            str(TOOL), "load", "--broker", broker, "--s3", s3, "--bucket", BUCKET,
            "--group", GROUP, "--archives", str(ARCHIVES), "--seed", str(seed),
        ],
        check=True,
        timeout=300,
        stdout=subprocess.DEVNULL,
    )


def memory(container, name):
    """A figure of its memory cgroup."""
    cgroup = pathlib.Path("/proc/%d/cgroup" % container.pid).read_text()
    [path] = [line.split(":", 2)[2] for line in cgroup.splitlines() if ":memory:" in line]
    folder = pathlib.Path("/sys/fs/cgroup/memory" + path)
    if not folder.exists():
        pytest.skip("the memory cgroup of version 1 is not at its usual place")
    return (folder / name).read_text()


def anonymous(container):
    return int(dict(line.split() for line in memory(container, "memory.stat").splitlines())["rss"])


def peak_while_working(container, work):
    """The most anonymous memory that it had meanwhile, as samples see it."""
    seen = []
    done = threading.Event()

    def watch():
        while not done.wait(0.05):
            seen.append(anonymous(container))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        work()
    finally:
        done.set()
        watching.join()
    return max(seen)


def test_it_is_looked_into_while_it_works_and_keeps_its_limit(agent_directory, tmp_path):
    with platform() as (broker, s3):
        with service(broker, s3, inspected=False) as container:

            def work():
                load(broker, s3, seed=1)
                wait_for_results(broker, ARCHIVES)

            need = peak_while_working(container, work)
        reports = []
        failed = []
        stop = threading.Event()

        def look(name):
            while not stop.wait(1):
                done = tool("snapshot", name, "--json")
                if done.returncode == 0:
                    reports.append(json.loads(done.stdout))
                else:
                    failed.append(done.stderr)

        with service(broker, s3, inspected=True, memory=need + SPARE) as container:
            names = [container.name, "exec:podman exec -i %s" % container.name]
            looking = [threading.Thread(target=look, args=(name,)) for name in names]
            for thread in looking:
                thread.start()
            try:
                load(broker, s3, seed=2)
                wait_for_results(broker, 2 * ARCHIVES)
            finally:
                stop.set()
                for thread in looking:
                    thread.join()
            run = tmp_path / "run"
            done = tool("record", container.name, "--output", run, "--for", "3s", "--interval", "1s")
            assert done.returncode == 0, done.stderr
            assert tool("selftest", container.name, timeout=90).returncode == 0
            assert memory(container, "memory.oom_control").split()[-1] == "0"
            assert container.inspect()["State"]["Running"] is True
    # A service that writes much while the copy lives may need its memory itself.
    assert [said for said in failed if "left to protect the service" not in said] == []
    print("%d snapshots, %d left to protect the service" % (len(reports), len(failed)))
    assert len(reports) >= 6
    for report in reports:
        [row] = report["watched"]
        assert row["type"].endswith("Broker") and row["never"] == 0
        assert report["process"]["executable"].startswith("/usr/bin/python3")
