"""Requests, settings and surroundings that are legal and rare."""

import os
import socket
import subprocess
import time

import pytest
from support.agent import environment, running, wait_until

PROGRAM = "runs_code.py"


def program(python, directory, code="", **more):
    return running(PROGRAM, python, directory, (code,), **more)


def open_descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def cpu_seconds(pid):
    fields = open("/proc/%d/stat" % pid).read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def connect(target):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(target.socket_path)
    return client


def read_all(client):
    parts = []
    while part := client.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def test_only_one_descriptor_is_kept_and_none_stays(python, agent_directory):
    with program(python, agent_directory) as target:
        target.request("ping")
        before = open_descriptors(target.pid)
        for _ in range(5):
            with connect(target) as client, open(os.devnull) as file:
                line = b'{"request":"ping"}\n'
                socket.send_fds(client, [line], [file.fileno()] * 2)
                assert client.recv(1000)
        wait_until(lambda: open_descriptors(target.pid) <= before)


def test_two_requests_in_one_packet_get_two_answers(python, agent_directory):
    with program(python, agent_directory) as target, connect(target) as client:
        client.sendall(b'{"request":"ping"}\n' * 2)
        answers = b""
        while answers.count(b"\n") < 2:
            answers += client.recv(1000)


def test_a_client_that_shuts_its_end_gets_the_whole_answer(python, agent_directory):
    code = "keep = [type('T%05d' % i, (), {})() for i in range(3000)]"
    with program(python, agent_directory, code) as target:
        with connect(target) as client:
            client.sendall(b'{"request":"snapshot"}\n')
            client.shutdown(socket.SHUT_WR)
            answer = read_all(client)
        assert len(answer) > 300_000 and answer.endswith(b"}\n")


def test_a_name_cut_inside_a_character_is_still_text(python, agent_directory):
    with program(python, agent_directory) as target:
        for name in ("é" * 40, "a" + "é" * 40):
            assert "is not known" in target.request(name)["error"]


def test_a_service_out_of_descriptors_does_not_spin(python, agent_directory):
    code = """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
kept = []
try:
    while True:
        kept.append(os.dup(0))
except OSError:
    pass
"""
    with program(python, agent_directory, code) as target:
        with connect(target):
            before = cpu_seconds(target.pid)
            time.sleep(1)  # What is measured is the time that goes by.
            assert cpu_seconds(target.pid) - before < 0.3


def test_a_module_of_many_functions_fits_into_the_report(python, agent_directory):
    code = """
module = {"__name__": "big.module"}
exec("\\n".join("def number_%d(): pass" % i for i in range(3000)), module)
"""
    with program(python, agent_directory, code) as target:
        report = target.snapshot("big.module.Thing")
    assert len(report["code"]["functions"]) == 3000


def test_a_registry_of_many_watched_objects_takes_seconds(python, agent_directory):
    code = """
import gc
gc.disable()
class Session: pass
registry = {}
for number in range(100_000):
    registry[number] = session = Session()
    session.itself = session
"""
    with program(python, agent_directory, code) as target:
        report = target.snapshot("Session")
    [cycle] = [c for c in report["cycles"] if c["signature"] == "Session → Session"]
    assert cycle["count"] == cycle["pinned"] == cycle["objects"] == 100_000
    assert report["taken"]["child_ms"] < 10_000


def test_a_long_ring_does_not_hide_short_cycles(python, agent_directory):
    code = """
import gc
class Node: pass
pairs = [(Node(), []) for _ in range(10)]
for node, items in pairs:
    node.items = items
    items.append(node)
ring = [Node() for _ in range(50_000)]
for one, other in zip(ring, ring[1:] + ring[:1]):
    one.next = other
gc.collect()  # One generation, in which the younger ones come first.
gc.collect()
"""
    with program(python, agent_directory, code) as target:
        report = target.snapshot("__main__.Node")
    counts = {cycle["signature"]: cycle["count"] for cycle in report["cycles"]}
    assert counts["Node → list → Node"] == 10
    assert "cycles" in [limit["field"] for limit in report["limits"]]


def test_threads_that_fork_at_once_do_not_stop_the_service(python, agent_directory):
    code = """
import os, threading
def work():
    for _ in range(100):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
threads = [threading.Thread(target=work) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
    options = ("-W", "ignore")
    with program(
        python, agent_directory, code, options=options, CYCLESCOPE_EVERY="2ms"
    ) as target:
        assert target.request("ping", timeout=10)["pong"] is True


def test_the_agent_is_back_after_a_fork_while_the_main_thread_waits(
    python, agent_directory
):
    code = """
import os, threading
def work():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    ready()
thread = threading.Thread(target=work)
thread.start()
thread.join()
sys.exit()
"""
    with program(python, agent_directory, code, options=("-W", "ignore")) as target:
        assert target.request("ping", timeout=10)["pong"] is True


@pytest.mark.parametrize("every", ["0.0001ms", "1e-9", "inf", "9000h", "nan"])
def test_an_interval_that_cannot_be_kept_is_refused(python, agent_directory, every):
    done = subprocess.run(
        [python.path, "-c", "print('started')"],
        env=environment(agent_directory, CYCLESCOPE_EVERY=every),
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stdout) == (0, "started\n")
    assert "CYCLESCOPE_EVERY=" + every in done.stderr


def test_sub_interpreters_are_as_without_us(python, agent_directory):
    code = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
interpreters.destroy(interpreters.create())
"""
    with program(python, agent_directory, code) as target:
        assert target.snapshot()["heap"]["objects"] > 1000


def test_reports_do_not_follow_links(python, agent_directory, tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("precious")
    code = """
import os
for number in range(1, 2000):
    name = "cyclescope-%d-%05d.json.tmp" % (os.getpid(), number)
    os.symlink(os.environ["MINE"], os.path.join(os.environ["CYCLESCOPE_DIR"], name))
"""
    with program(
        python, agent_directory, code, CYCLESCOPE_EVERY="200ms", MINE=mine
    ):
        wait_until(lambda: len(list(agent_directory.glob("cyclescope-*.json"))) >= 2)
    assert mine.read_text() == "precious"
