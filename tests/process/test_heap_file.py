"""Heap files of live processes."""

import json
import os
import struct
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


def labels_of(path):
    """(label, function, line) of every labelled node, read as heap_file.md says."""
    data = path.read_bytes()
    table, count = struct.unpack_from("<QQ", data, len(data) - 32)
    sections = {}
    for at in range(table, table + 32 * count, 32):
        kind, size, offset, elements = struct.unpack_from("<IIQQ", data, at)
        sections[kind] = data[offset : offset + size * elements]
    ends = [end for (end,) in struct.iter_unpack("<Q", sections[15])]
    texts = [sections[16][a:b].decode() for a, b in zip([0, *ends], ends)]
    for _, label, function, line in struct.iter_unpack("<4I", sections[13]):
        yield texts[label], texts[function], line


def test_generators_and_coroutines_have_function_and_line(
    python, agent_directory, tmp_path
):
    path = tmp_path / "heap"
    with running("function_cycles.py", python, agent_directory) as target:
        ask("snapshot", target.pid, "--heap", path)
        told = json.loads(target.tell("describe"))
    expected = sorted(
        ("%s(function_cycles.py:%s)" % (kind, function), function, line or 0)
        for kind, function, line in told
    )
    assert len([one for one in expected if one[2] == 0]) == 3  # They have ended.
    kinds = ("generator(", "coroutine(", "async_generator(")
    functions = {one[1] for one in expected}
    found = [one for one in labels_of(path) if one[0].startswith(kinds)]
    assert sorted(one for one in found if one[1] in functions) == expected


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
