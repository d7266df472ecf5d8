"""The inspector comes into real containers by environment."""

import pytest
from support.agent import ask

KINDS = {
    "default": {},
    "no-capabilities": {"cap_drop": "ALL"},
    "read-only-uid-1001": {"read_only": True, "user": "1001"},
    "random-uid": {"user": "1000780000:0", "read_only": True, "cap_drop": "ALL"},
    "little-cpu": {"cpus": "0.2", "memory": "128m"},
}


def test_snapshot_of_a_container_on_each_python(podman, python):
    with podman.running("three_cycles.py", python) as target:
        report = ask("snapshot", target.pid)
    assert report["process"]["pid_in_namespace"] == 1
    assert report["process"]["python"] == ".".join(map(str, python.version))
    assert any(cycle["signature"] == "Hub → Hub" for cycle in report["cycles"])


@pytest.mark.parametrize("kind", KINDS)
def test_snapshot_of_each_kind_of_container(podman, any_python, kind):
    with podman.running("three_cycles.py", any_python, **KINDS[kind]) as target:
        report = ask("snapshot", target.pid)
    assert any(cycle["signature"] == "Hub → Hub" for cycle in report["cycles"])
