"""Heap files of live processes."""

import os
import subprocess

import pytest
from support.agent import ask, running, tool


@pytest.fixture
def known(any_python, agent_directory, tmp_path):
    """The heap of 3 pinned, 5 floating and 2 running Brokers."""
    path = tmp_path / "known.heap"
    with running("known_cycles.py", any_python, agent_directory, (3, 5, 2)) as target:
        ask("snapshot", target.pid, "--watch", "Broker", "--heap", path)
    return path


def test_planted_secrets_are_in_no_heap_file(python, agent_directory, tmp_path):
    secret = "sesame4711"
    path = tmp_path / "heap"
    with running(
        "secrets.py", python, agent_directory, (secret,), VAULT="environment-" + secret
    ) as target:
        ask("snapshot", target.pid, "--watch", "Vault", "--heap", path)
        report = tool("snapshot", target.pid, "--watch", "Vault", "--json").stdout
    recorded = path.read_bytes()
    for name in (b"Vault", b".members", b".settings", b".simple", b".function"):
        assert name in recorded
    for found in (recorded, report.encode()):
        assert secret.encode() not in found
        assert secret.encode("utf-16-le") not in found
        assert secret.encode("utf-32-le") not in found


def test_a_heap_file_is_whole_or_not_there(any_python, agent_directory, tmp_path):
    with running("three_cycles.py", any_python, agent_directory) as target:
        done = tool("snapshot", target.pid, "--heap", "/dev/full")
        assert done.returncode == 1 and "/dev/full" in done.stderr
        done = tool("snapshot", target.pid, "--heap", tmp_path / "no" / "heap")
        assert done.returncode == 1 and "heap" in done.stderr
        done = tool("snapshot", target.pid, "--heap", tmp_path / "h", "--ids", tmp_path / "i")
        assert done.returncode == 2
    assert os.listdir(tmp_path) == []


def test_a_heap_file_streams_into_a_pipe(any_python, agent_directory, tmp_path):
    with running("three_cycles.py", any_python, agent_directory) as target:
        read, write = os.pipe()
        with subprocess.Popen(["cat"], stdin=read, stdout=open(tmp_path / "heap", "wb")) as cat:
            os.close(read)
            target.snapshot("Hub", heap=True, descriptor=write)
            os.close(write)
        assert cat.returncode == 0
    assert b"Hub" in (tmp_path / "heap").read_bytes()


def test_a_pipe_that_nobody_reads_is_given_up(any_python, agent_directory):
    with running("three_cycles.py", any_python, agent_directory) as target:
        read, write = os.pipe()
        os.close(read)
        reply = target.request("snapshot", heap=True, descriptor=write)
        os.close(write)
        assert "could not be written" in reply["error"]
        assert "error" not in target.request("snapshot")


def test_heap_without_a_descriptor_is_refused(any_python, agent_directory):
    with running("three_cycles.py", any_python, agent_directory) as target:
        assert "descriptor" in target.request("snapshot", heap=True)["error"]
