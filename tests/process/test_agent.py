"""The socket: who may ask, what can be asked, what is answered to nonsense."""

import json
import os
import re
import socket
import subprocess

import pytest
from support.agent import INSPECTOR, TOOL, running, wait_until


def raw(path, data, wait=10):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(wait)
        connection.connect(path)
        connection.sendall(data)
        reply = b""
        while not reply.endswith(b"\n"):
            part = connection.recv(1 << 16)
            if not part:
                return None
            reply += part
        return json.loads(reply)


def test_ping_and_settings_answer(python, agent_directory):
    with running("three_cycles.py", python, agent_directory, CYCLESCOPE_WATCH="a.B, C") as target:
        pong = target.request("ping")
        assert pong["pong"] is True and pong["pid_in_namespace"] == target.pid
        assert pong["python"] == ".".join(map(str, python.version))
        settings = target.request("settings")["settings"]
        assert settings["watch"] == ["a.B", "C"]
        assert settings["dir"] == str(agent_directory)


def test_collector_statistics_are_of_this_process(python, agent_directory):
    with running("random_graphs.py", python, agent_directory) as target:
        before = target.request("gc_stats")["gc"]
        target.tell("collect /dev/null")
        after = target.request("gc_stats")["gc"]
        sample = target.request("sample")
        stat = open("/proc/%d/stat" % target.pid).read().rpartition(")")[2].split()
        descriptors = len(os.listdir("/proc/%d/fd" % target.pid))
    assert before["enabled"] is False
    # `collect` collects twice.
    assert after["stats"][2]["collections"] == before["stats"][2]["collections"] + 2
    assert sample["gc"]["stats"] == after["stats"]
    assert sample["memory"]["rss"] > sample["memory"]["anon"] > 1 << 20
    assert sample["start_ticks"] == int(stat[19]) and sample["threads"] == int(stat[17])
    assert abs(sample["cpu_ms"] - (int(stat[11]) + int(stat[12])) * 10) <= 30
    # The socket of the request itself has gone meanwhile.
    assert descriptors <= sample["descriptors"] <= descriptors + 2


@pytest.mark.parametrize(
    "line, says",
    [
        (b"nonsense", "no JSON object"),
        (b"[]", "no JSON object"),
        (b"{}", "no JSON object"),
        (b'{"request": 5}', "no JSON object"),
        (b'{"request": "delete"}', "'delete' is not known"),
        (b'{"request": "snapshot", "watch": "Broker"}', "array of type names"),
        (b'{"request": "snapshot", "watch": [1]}', "array of type names"),
        (b'{"request": "snapshot", "ids": true}', "writable descriptor"),
        (b"", "no JSON object"),
    ],
)
def test_bad_requests_get_a_sentence(python, agent_directory, line, says):
    with running("three_cycles.py", python, agent_directory) as target:
        assert says in raw(target.socket_path, line + b"\n")["error"]
        assert target.request("ping")["pong"] is True


def test_an_endless_request_is_dropped(python, agent_directory):
    with running("three_cycles.py", python, agent_directory) as target:
        with pytest.raises((ConnectionError, BrokenPipeError)):
            if raw(target.socket_path, b"x" * (1 << 20)) is None:
                raise ConnectionError
        assert target.request("ping")["pong"] is True


def test_a_client_that_reads_nothing_does_not_stop_others(python, agent_directory):
    with running("three_cycles.py", python, agent_directory) as target:
        with socket.socket(socket.AF_UNIX) as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            lazy.connect(target.socket_path)
            lazy.sendall(b'{"request": "snapshot"}\n')
            assert target.request("ping", timeout=5)["pong"] is True


def test_ids_that_cannot_be_written_are_an_error(python, agent_directory):
    with running("three_cycles.py", python, agent_directory) as target:
        with open("/dev/full", "w") as full:
            answer = target.request("snapshot", ids=True, descriptor=full.fileno())
    assert "disk is full" in answer["error"]


def test_reports_come_by_themselves_when_asked_to(python, agent_directory, tmp_path):
    with running(
        "known_cycles.py",
        python,
        agent_directory,
        (1, 2, 0),
        CYCLESCOPE_EVERY="100ms",
        CYCLESCOPE_OUT=tmp_path,
        CYCLESCOPE_WATCH="Broker",
    ):
        wait_until(lambda: len(list(tmp_path.glob("cyclescope-*.json"))) >= 3)
    reports = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*.json"))]
    assert {report["taken"]["trigger"] for report in reports} == {"interval"}
    # The first may be from before the program had made what it makes.
    assert reports[-1]["watched"][0]["floating"] == 2


def test_the_inspector_loads_on_old_glibc_and_exports_one_name():
    """Symbol versions, exported and needed names, read from the file."""
    symbols = subprocess.run(
        ["objdump", "-T", str(INSPECTOR)], capture_output=True, text=True, check=True
    ).stdout
    versions = {
        tuple(map(int, word[len("GLIBC_") :].strip("()").split(".")))
        for word in symbols.replace("(", " ").replace(")", " ").split()
        if word.startswith("GLIBC_")
    }
    assert versions and max(versions) <= (2, 34)
    assert "GLIBCXX" not in symbols
    exported = [
        line.split()[-1] for line in symbols.splitlines() if " .text\t" in line
    ]
    assert exported == ["PyInit__cyclescope"]
    dynamic = subprocess.run(
        ["readelf", "-d", str(INSPECTOR)], capture_output=True, text=True, check=True
    ).stdout
    needed = {
        line.split("[")[1].rstrip("]")
        for line in dynamic.splitlines()
        if "(NEEDED)" in line
    }
    assert needed <= {"libgcc_s.so.1", "libc.so.6", "ld-linux-x86-64.so.2"}
    # The limited API of 3.11, and four functions found by name at run time.
    undefined = {
        line.split()[-1]
        for line in symbols.splitlines()
        if "*UND*" in line and line.split()[-1].startswith(("Py", "_Py"))
    }
    assert not {name for name in undefined if name.startswith("_Py")} - {
        "_Py_Dealloc",
        "_Py_NoneStruct",
        "_Py_TrueStruct",
        "_Py_FalseStruct",
        "_Py_IncRef",
        "_Py_DecRef",
        "_Py_BuildValue_SizeT",
        "_PyObject_CallMethod_SizeT",
    }
    # They hold a lock of the C library that fork does not free in the child.
    assert not re.search(r" (gmtime|localtime|mktime|strftime|tzset)", symbols)


def test_snapshot_verb_prints_what_the_agent_says(python, agent_directory):
    with running("known_cycles.py", python, agent_directory, (2, 3, 1)) as target:
        done = subprocess.run(
            [str(TOOL), "snapshot", target.socket_path, "--watch", "Broker"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    assert "run_components" in done.stdout and "Broker" in done.stdout
