"""`doctor`: what of the machine works, and the remedy for what does not."""

import json
import os
import re
import subprocess

import pytest
from support.agent import as_nobody, ask, running, tool


def checks(report):
    named = {}
    for check in report["checks"]:
        named.setdefault(check["check"], []).append(check)
    return named


def test_it_says_what_this_machine_has(podman, any_python, agent_directory):
    with running("three_cycles.py", any_python, agent_directory):
        with podman.started("sleep", "60"):
            found = checks(ask("doctor"))
    [engine] = found["podman"]
    assert engine["state"] == "ok"
    assert engine["finding"].split()[1].rstrip(",") in podman.podman("--version")
    [containers] = found["containers"]
    assert int(containers["finding"].split()[0]) >= 1
    [memory] = found["memory files"]
    assert memory["state"] == "ok" and "containers' memory.stat can be read" in memory["finding"]
    [pythons] = found["Pythons"]
    assert int(re.match(r"(\d+) run", pythons["finding"])[1]) >= 1
    [cgroups] = found["cgroups"]
    has_v1 = os.path.exists("/sys/fs/cgroup/memory/memory.stat")
    assert ("memory is counted by version 1" in cgroups["finding"]) is has_v1
    [disk] = found["disk"]
    assert disk["finding"].startswith(os.getcwd())
    assert found["ptrace"][0]["state"] == "ok"  # The tests with podman are root's.
    assert found["inspector"][0]["state"] == "ok"


def test_each_state_that_is_not_ok_has_a_remedy_in_both_forms():
    report = ask("doctor")
    text = tool("doctor").stdout
    for check in report["checks"]:
        assert check["state"] in ("ok", "limited", "missing")
        assert check["finding"]
        if check["state"] != "ok":
            assert check["remedy"], check
            assert "→ " + check["remedy"] in text
        assert re.search(r"^%s +%s " % (re.escape(check["check"]), check["state"]), text, re.M)


def test_engine_by_its_socket(podman_socket, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix://" + podman_socket)
    found = checks(ask("doctor"))
    assert any(podman_socket in one["finding"] for one in found["podman"])


@pytest.mark.parametrize(
    "host, says",
    [
        ("unix:///nowhere/engine.sock", "cannot be opened: No such file"),
        ("ssh://person@machine/run/podman/podman.sock", "not on this machine"),
        ("tcp://127.0.0.1:2375", "not on this machine"),
    ],
)
def test_engine_that_cannot_be_reached(monkeypatch, host, says):
    monkeypatch.setenv("CONTAINER_HOST", host)
    found = checks(ask("doctor"))
    [problem] = [one for one in found["podman"] if says in one["finding"]]
    assert problem["state"] == "limited" and problem["remedy"]


def test_no_engine_at_all(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("DOCKER_HOST", "CONTAINER_HOST", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    if any(map(os.path.exists, ("/run/podman/podman.sock", "/var/run/docker.sock"))):
        pytest.skip("an engine serves this machine")
    found = checks(ask("doctor"))
    for engine in ("podman", "docker"):
        [check] = found[engine]
        assert check["state"] == "missing" and "exec:'CMD'" in check["remedy"]
    assert found["python3"][0]["state"] == "missing"


def test_another_user_is_told_what_is_closed(tool_for_all, tmp_path):
    done = subprocess.run(
        [*as_nobody(tool_for_all), "doctor", "--json"],
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, "TMPDIR": "/tmp"},
    )
    assert done.returncode == 0, done.stderr
    found = checks(json.loads(done.stdout))
    assert found["ptrace"][0]["state"] in ("limited", "missing")
    assert "CAP_SYS_PTRACE" in found["capabilities"][0]["finding"]
    assert found["capabilities"][0]["remedy"] == "run cyclescope as root"
    assert "cannot be looked into" in found["Pythons"][0]["finding"]
    assert found["disk"][0]["state"] == "missing"  # "/" is not theirs.
    assert found["temporary files"][0]["state"] in ("ok", "limited")


def test_without_proc_it_cannot_look(tool_for_all):
    if os.geteuid() != 0:
        pytest.skip("only root can leave /proc out")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", 'umount -l /proc && exec "$0" doctor', tool_for_all],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("cyclescope: there is no /proc"), done.stderr
