"""TARGET exec:'CMD': the relay between a pair of pipes and the inspector."""

import contextlib
import json
import os
import pathlib
import pty
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time

import pytest
from support.agent import HOOK, TOOL, ask, running, tool, wait_until

RELAY = HOOK / "cyclescope-relay"
GREETING = "cyclescope-relay 1 0.1.0"
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become others")


def by_relay(directory, pid=None, before=""):
    """TARGET that starts the relay where it finds this directory."""
    at = "" if pid is None else "@%d" % pid
    return "exec%s:%senv CYCLESCOPE_DIR=%s %s" % (at, before, directory, RELAY)


def relays(directory):
    """Those that run for it."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "comm").read_text().startswith("cyclescope-rel"):
                if str(directory).encode() in (process / "environ").read_bytes():
                    found.append(process.name)
    return found


def tool_command(*arguments):
    return [TOOL, *arguments]


def sentence(done):
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("cyclescope: "), done.stderr
    assert "terminate" not in done.stderr
    return lines[0]


def test_a_snapshot_through_it_is_the_same(python, agent_directory):
    with running("three_cycles.py", python, agent_directory) as target:
        direct = ask("snapshot", target.pid, "--watch", "Hub")
        relayed = ask("snapshot", by_relay(agent_directory), "--watch", "Hub")
    for report in (direct, relayed):
        # Objects of the request itself differ from one to the next.
        assert report["process"]["pid_in_namespace"] == target.pid
    assert relayed["cycles"] == direct["cycles"]
    assert relayed["watched"] == direct["watched"]
    assert abs(relayed["heap"]["objects"] - direct["heap"]["objects"]) < 50
    assert not relays(agent_directory)


def test_a_heap_file_through_it_can_be_read(python, agent_directory, tmp_path):
    direct, relayed = tmp_path / "direct.heap", tmp_path / "relayed.heap"
    with running("three_cycles.py", python, agent_directory) as target:
        ask("snapshot", target.pid, "--heap", direct)
        ask("snapshot", by_relay(agent_directory), "--heap", relayed)
    tops = [ask("top", path, "--top", "5") for path in (direct, relayed)]
    rows = [{row["type"]: row["count"] for row in top["types"]} for top in tops]
    assert rows[0] == rows[1]
    assert tops[0]["cycles"] == tops[1]["cycles"]
    assert abs(direct.stat().st_size - relayed.stat().st_size) < 4096


class FakeAgent:
    """Listens where an inspector of this process would."""

    def __init__(self, directory, answer):
        self.path = directory / ("cyclescope-%d.sock" % os.getpid())
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen(8)
        self.answer = answer
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection):
        with connection:
            line, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 4)
            if line:
                self.answer(json.loads(line), connection, descriptors)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


PONG = b'{"pong":true,"pid":1,"pid_in_namespace":1,"python":"3.11.2","version":"0.1.0"}\n'
EMPTY = b'{"schema":"cyclescope.snapshot/1","watched":[],"cycles":[]}\n'


@pytest.fixture
def fake_agent(agent_directory):
    agents = []

    def start(answer):
        agents.append(FakeAgent(agent_directory, answer))

    yield start
    for agent in agents:
        agent.close()


class Relay:
    """One relay, spoken to in frames (inspector/agent/relay/frames.h)."""

    def __init__(self, directory):
        self.process = subprocess.Popen(
            [RELAY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"CYCLESCOPE_DIR": str(directory)},
        )
        assert self.process.stdout.readline() == (GREETING + "\n").encode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        assert self.process.wait(5) == 0
        self.process.stdout.close()

    def send(self, kind, payload=b""):
        self.process.stdin.write(kind + struct.pack("<I", len(payload)) + payload)
        self.process.stdin.flush()

    def receive(self):
        header = self.process.stdout.read(5)
        return header[:1], self.process.stdout.read(struct.unpack("<I", header[1:])[0])

    def ask(self, request, pid=0, pipe=False):
        """(answer, data), or (None, the relay's sentence)."""
        line = json.dumps(request).encode()
        self.send(b"q", b"%d %d\n%s" % (pid, pipe, line))
        parts = {b"A": b"", b"D": b""}
        while True:
            kind, payload = self.receive()
            if kind == b"X":
                return None, payload.decode()
            if kind == b"E":
                return parts[b"A"], parts[b"D"]
            parts[kind] += payload


def test_every_byte_arrives(agent_directory, fake_agent):
    data = os.urandom(10_000_019)

    def answer(request, connection, descriptors):
        with open(descriptors[0], "wb") as file:
            file.write(data)
        connection.sendall(EMPTY)

    fake_agent(answer)
    with Relay(agent_directory) as relay:
        for _ in range(2):  # The second over the same relay.
            reply, carried = relay.ask({"request": "snapshot", "heap": True}, pipe=True)
            assert reply == EMPTY[:-1]
            assert carried == data


def test_data_behind_the_answer_arrives_too(agent_directory, fake_agent):
    def answer(request, connection, descriptors):
        connection.sendall(EMPTY)
        time.sleep(0.1)
        with open(descriptors[0], "wb") as file:
            file.write(b"late")

    fake_agent(answer)
    with Relay(agent_directory) as relay:
        assert relay.ask({"request": "snapshot"}, pipe=True) == (EMPTY[:-1], b"late")


def test_the_relay_ends_with_its_input_in_the_middle_of_an_answer(
    agent_directory, fake_agent
):
    asked = threading.Event()
    gone = threading.Event()

    def answer(request, connection, descriptors):
        connection.sendall(b"{")
        asked.set()
        connection.settimeout(10)
        with contextlib.suppress(ConnectionResetError):  # It had not read all.
            assert connection.recv(1) == b""
        gone.set()

    fake_agent(answer)
    with Relay(agent_directory) as relay:
        relay.send(b"q", b'0 1\n{"request":"snapshot"}')
        assert asked.wait(5)
    assert gone.wait(5), "the relay kept its connection"


@pytest.mark.parametrize("data", [b"G" * 100, b"q\xff\xff\xff\xff", b"GET / HTTP/1.1\n"])
def test_what_is_no_frame_ends_it(agent_directory, data):
    relay = Relay(agent_directory)
    relay.process.stdin.write(data)
    relay.process.stdin.flush()
    assert relay.receive() == (b"X", b"what came is no request of this version")
    assert relay.process.wait(5) == 1
    relay.process.stdin.close()
    relay.process.stdout.close()


def test_several_processes_are_named_and_chosen_from(python, agent_directory):
    with running("three_cycles.py", python, agent_directory) as one:
        with running("three_cycles.py", python, agent_directory) as two:
            said = sentence(tool("snapshot", by_relay(agent_directory)))
            assert "several processes" in said and "@PID" in said
            assert str(one.pid) in said and str(two.pid) in said
            report = ask("snapshot", by_relay(agent_directory, two.pid))
            assert report["process"]["pid_in_namespace"] == two.pid
            lines = tool("snapshot", by_relay(agent_directory), "--all", "--json").stdout
            pids = [json.loads(line)["process"]["pid_in_namespace"] for line in lines.splitlines()]
            assert pids == sorted([one.pid, two.pid])
            said = sentence(tool("snapshot", by_relay(agent_directory, 1)))
            assert "no inspector in process 1 there" in said


def test_it_finds_the_directory_that_only_the_service_knows(any_python, agent_directory):
    """As when a start-up script of the container sets it."""
    with running("three_cycles.py", any_python, agent_directory) as target:
        report = ask("snapshot", "exec@%d:env -u CYCLESCOPE_DIR %s" % (target.pid, RELAY))
    assert report["process"]["pid_in_namespace"] == target.pid


FAKE_RELAY = """
import sys, struct, time
out = sys.stdout.buffer
def frame(kind, payload): out.write(kind + struct.pack("<I", len(payload)) + payload)
%s
out.flush()
time.sleep(60)
"""


@pytest.mark.parametrize(
    "does, says",
    [
        ("out.write(b'cyclescope-relay 2 9.9\\n')", "of another version"),
        ("out.write(b'x' * 20000)", "is no relay but prints 'xxx"),
        ("out.write(b'hello\\n'); sys.exit(3)", "exit status 3): hello;"),
        ("sys.stderr.write('not allowed\\n'); sys.exit(1)", "exit status 1): not allowed;"),
        ("out.write(b'GREETING\\n'); sys.exit(0)", "before the answer (exit status 0)"),
        ("out.write(b'GREETING\\nGET / HTTP/1.0')", "no part of an answer"),
        ("out.write(b'GREETING\\n'); frame(b'X', b'no such thing')", "no such thing"),
        ("out.write(b'GREETING\\n'); frame(b'L', b'')", "answer to another question"),
        (
            "out.write(b'GREETING\\n'); frame(b'A', b'hello'); frame(b'E', b'')",
            "not a JSON object but 'hello",
        ),
        (
            "out.write(b'GREETING\\n')\nwhile True: frame(b'A', b'x' * 65536)",
            "longer than 256 MiB",
        ),
        ("out.write(b'GREETING\\n'); frame(b'A', b'{\"pong\":'); sys.exit(137)", "137"),
    ],
)
def test_what_is_no_relay_gets_a_sentence(tmp_path, does, says):
    script = tmp_path / "fake"
    script.write_text(FAKE_RELAY % does.replace("GREETING", GREETING))
    # The name tells that the relay's own path need not be added.
    target = "exec:: cyclescope-relay; exec %s %s" % (sys.executable, script)
    said = sentence(tool("snapshot", target, timeout=40))
    assert says in said
    wait_until(lambda: not subprocess.run(["pgrep", "-f", str(script)]).returncode == 0)


def test_a_command_that_cannot_be_started_gets_a_sentence():
    assert "not found" in sentence(tool("snapshot", "exec:no-such-command -i x"))
    assert "no command" in sentence(tool("snapshot", "exec: "))
    assert "is no pid" in sentence(tool("snapshot", "exec@x:cat"))


def test_a_banner_before_the_greeting_does_not_matter(any_python, agent_directory):
    with running("three_cycles.py", any_python, agent_directory):
        ask("snapshot", by_relay(agent_directory, before="echo Welcome; exec "))


def test_where_there_is_no_inspector_it_says_so(agent_directory):
    said = sentence(tool("snapshot", "exec:unshare -r --pid --fork --mount-proc %s" % RELAY))
    assert "there is no inspector in any process there" in said


@ROOT_ONLY
def test_another_users_process_is_told_of(any_python, agent_directory):
    os.chmod(agent_directory, 0o755)
    with running("three_cycles.py", any_python, agent_directory):
        target = by_relay(agent_directory, before="setpriv --reuid 65534 --clear-groups ")
        said = sentence(tool("snapshot", target))
    assert "uid 65534" in said and "of other users" in said


@ROOT_ONLY
def test_links_and_stale_sockets_are_left_alone(any_python, agent_directory):
    with running("three_cycles.py", any_python, agent_directory) as target:
        moved = agent_directory / "moved"
        os.rename(target.socket_path, moved)
        os.symlink(moved, target.socket_path)
        said = sentence(tool("snapshot", by_relay(agent_directory, target.pid)))
        assert "there is no inspector in" in said
        assert "is not a socket" in sentence(tool("snapshot", target.pid))
        os.unlink(target.socket_path)
        os.rename(moved, target.socket_path)
        ask("snapshot", by_relay(agent_directory))


def test_a_recording_through_it_has_the_process_s_own_figures(
    python, agent_directory, tmp_path
):
    with running("three_cycles.py", python, agent_directory) as target:
        run = tmp_path / "run"
        done = tool(
            "record", by_relay(agent_directory), "--output", run, "--for", "3s",
            "--interval", "500ms", "--json",
        )
        assert done.returncode == 0, done.stderr
        with open("/proc/%d/status" % target.pid) as status:
            [rss] = [int(line.split()[1]) for line in status if line.startswith("VmRSS")]
    assert json.loads(done.stdout)["snapshots"] >= 10
    store = sqlite3.connect(run / "run.db")
    figures = dict(
        store.execute("select name, avg(value) from sample join series on series.id = series group by name").fetchall()
    )
    assert abs(figures["memory.rss"] - rss * 1024) < 2 << 20
    assert 1 << 20 < figures["memory.anon"] < figures["memory.rss"]
    assert figures["threads"] == 2 and figures["descriptors"] >= 4
    [(source, ticks)] = store.execute("select memory_source, start_ticks from service")
    assert "smaps_rollup" in source and "inspector" in source
    assert not relays(agent_directory)


def test_a_service_that_ends_while_it_is_recorded_is_told_of(any_python, agent_directory, tmp_path):
    with running("three_cycles.py", any_python, agent_directory) as target:
        recording = subprocess.Popen(
            [str(part) for part in tool_command(
                "record", by_relay(agent_directory, target.pid), "--output", tmp_path / "run",
                "--for", "60s", "--interval", "200ms",
            )],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        wait_until(lambda: (tmp_path / "run" / "run.db").exists())
        time.sleep(1)
    stdout, stderr = recording.communicate(timeout=60)
    assert recording.returncode == 1
    assert "ended while it was recorded" in stderr.splitlines()[-1]
    assert not relays(agent_directory)


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_no_relay_outlives_the_tool(any_python, agent_directory, tmp_path, kill):
    with running("three_cycles.py", any_python, agent_directory) as target:
        recording = subprocess.Popen(
            [str(part) for part in tool_command(
                "record", by_relay(agent_directory), "--output", tmp_path / "run", "--for", "60s",
            )],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: relays(agent_directory))
        time.sleep(0.5)
        recording.send_signal(kill)
        assert recording.wait(20) == (130 if kill == signal.SIGINT else -kill)
        wait_until(lambda: not relays(agent_directory))
        assert target.request("ping")["pong"] is True


def test_install_copies_the_folder_whole(tmp_path):
    folder = tmp_path / "new"
    subprocess.run([RELAY, "install", folder], check=True)
    for name in ("_cyclescope.abi3.so", "sitecustomize.py", "cyclescope-relay"):
        assert (folder / name).read_bytes() == (HOOK / name).read_bytes()
    assert os.access(folder / "cyclescope-relay", os.X_OK)
    subprocess.run([RELAY, "install", folder], check=True)  # Again, over it.
    done = subprocess.run(
        [RELAY, "install", "/proc/none"], capture_output=True, text=True
    )
    assert done.returncode == 1 and "cannot be made" in done.stderr
    assert subprocess.run([RELAY, "wrong"], capture_output=True).returncode == 2


def test_it_needs_nothing_of_an_image(tmp_path):
    """Not even a C library: it runs in an empty root."""
    if os.geteuid() != 0:
        pytest.skip("needs root to change the root directory")
    shutil.copy(RELAY, tmp_path / "relay")
    done = subprocess.run(
        ["chroot", tmp_path, "/relay", "--version"], capture_output=True, text=True
    )
    assert done.stdout == GREETING.split()[-1] + "\n"


@pytest.mark.parametrize(
    "pong, report",
    [
        ({"pong": "yes"}, {}),
        ({"pong": True}, {"schema": 1}),
        ({"pong": True}, {"watched": [1]}),
        ({"pong": True}, {"watched": [{}]}),
        ({"pong": True}, {"heap": 3}),
    ],
)
def test_an_answer_of_another_form_gets_a_sentence(fake_agent, agent_directory, pong, report):
    def answer(request, connection, descriptors):
        said = pong
        if request["request"] == "snapshot":
            said = {"schema": "cyclescope.snapshot/1", "watched": [], "cycles": [], **report}
        connection.sendall(json.dumps(said).encode() + b"\n")

    fake_agent(answer)
    path = agent_directory / ("cyclescope-%d.sock" % os.getpid())
    for target in (path, by_relay(agent_directory)):
        said = sentence(tool("snapshot", target, "--top", "holders"))
        assert "another form than this program expects" in said
        assert "json.exception" not in said


def test_a_folder_of_a_containers_name_is_not_the_target(tmp_path):
    (tmp_path / "my-service").mkdir()
    (tmp_path / "another").touch()
    for name in ("my-service", "another"):
        said = sentence(tool("snapshot", name, cwd=tmp_path))
        assert "no container, compose project" in said


def test_names_with_a_slash_that_are_no_file():
    said = sentence(tool("top", "label:app.kubernetes.io/name=no-such"))
    assert "no container has the label app.kubernetes.io/name=no-such" in said
    assert "no process has such a number" in sentence(tool("snapshot", "0"))


def test_one_that_does_not_answer_does_not_hide_the_others(any_python, agent_directory):
    with running("three_cycles.py", any_python, agent_directory) as target:
        # Closes the connection of every request.
        silent = FakeAgent(agent_directory, lambda *_: None)
        done = tool("snapshot", by_relay(agent_directory), "--all", "--json")
        silent.close()
    assert done.returncode == 1 and "process %d there" % os.getpid() in done.stderr
    [report] = map(json.loads, done.stdout.splitlines())
    assert report["process"]["pid_in_namespace"] == target.pid


def test_a_command_that_ends_is_not_the_service(any_python, agent_directory, tmp_path):
    with running("three_cycles.py", any_python, agent_directory):
        recording = subprocess.Popen(
            tool_command(
                "record", by_relay(agent_directory), "--output", tmp_path / "run",
                "--for", "5s", "--interval", "100ms",
            ),
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: (tmp_path / "run" / "run.db").exists())
        time.sleep(0.5)
        for _ in range(4):  # A tick meets one of them that has ended, or a snapshot.
            for relay in wait_until(lambda: relays(agent_directory)):
                os.kill(int(relay), signal.SIGKILL)
            time.sleep(0.45)
        _, stderr = recording.communicate(timeout=30)
        assert recording.returncode == 0, stderr


def test_the_self_test_starts_no_other_program():
    with subprocess.Popen(["sleep", "60"]) as other:
        wait_until(lambda: os.readlink("/proc/%d/exe" % other.pid).endswith("sleep"))
        said = sentence(tool("selftest", other.pid))
        other.kill()
    assert "(sleep) is not a Python" in said


def test_the_self_test_shows_no_control_characters(tmp_path):
    relay = tmp_path / "cyclescope-relay"
    relay.write_text(
        '#!/bin/sh\n'
        'echo \'{"schema":"cyclescope.selftest/1","python":"\\u001b[2J","checks":[]}\'\n'
    )
    relay.chmod(0o755)
    done = tool("selftest", "exec:%s" % relay)
    assert done.returncode == 1 and "Python ?[2J" in done.stdout


def test_the_self_tests_python_ends_with_the_relay(tmp_path):
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\necho $$ > %s/pid\nexec sleep 60\n" % tmp_path)
    slow.chmod(0o755)
    relay = subprocess.Popen([RELAY, "selftest", slow])
    pid = wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    relay.kill()
    relay.wait()
    wait_until(lambda: not os.path.exists("/proc/%d/cwd" % int(pid)))


def test_the_self_tests_exit_status_is_its_pythons(tmp_path):
    for word, status in (("exit 3", 3), ("kill -9 $$", 137)):
        script = tmp_path / "script"
        script.write_text("#!/bin/sh\n" + word + "\n")
        script.chmod(0o755)
        assert subprocess.run([RELAY, "selftest", script]).returncode == status
    done = subprocess.run([RELAY, "selftest", "/no/python"], capture_output=True, text=True)
    assert done.returncode == 127 and "/no/python cannot be started" in done.stderr


def test_one_that_is_named_is_asked_alone(fake_agent, agent_directory, any_python):
    fake_agent(lambda *_: None)
    with running("three_cycles.py", any_python, agent_directory) as target:
        with socket.socket(socket.AF_UNIX) as listener:
            # Another name of this process: only a connection would tell.
            listener.bind(str(agent_directory / ("cyclescope-%d-1.sock" % os.getpid())))
            listener.listen()
            listener.setblocking(False)
            ask("snapshot", by_relay(agent_directory, target.pid))
            with pytest.raises(BlockingIOError):
                listener.accept()
            sentence(tool("snapshot", by_relay(agent_directory)))
            listener.accept()[0].close()


def test_a_recording_goes_on_where_the_socket_was_away(any_python, agent_directory, tmp_path):
    with running("three_cycles.py", any_python, agent_directory) as target:
        recording = subprocess.Popen(
            tool_command(
                "record", str(target.pid), "--output", tmp_path / "run",
                "--for", "5s", "--interval", "200ms",
            ),
            stderr=subprocess.PIPE,
        )
        wait_until(lambda: (tmp_path / "run" / "run.db").exists())
        time.sleep(1)
        os.rename(target.socket_path, agent_directory / "away")
        time.sleep(1.2)
        os.rename(agent_directory / "away", target.socket_path)
        _, stderr = recording.communicate(timeout=30)
        assert recording.returncode == 0, stderr
    with sqlite3.connect(tmp_path / "run" / "run.db") as store:
        kinds = {kind for (kind,) in store.execute("select kind from event")}
    assert {"snapshot_failed", "finished"} <= kinds


def test_a_name_with_a_line_end_is_one_process(fake_agent, agent_directory):
    fake_agent(lambda *_: None)
    with open("/proc/self/comm") as own:
        before = own.read()[:-1]
    pathlib.Path("/proc/self/comm").write_text("a\n7 b")
    try:
        with Relay(agent_directory) as relay:
            relay.send(b"l")
            kind, payload = relay.receive()
    finally:
        pathlib.Path("/proc/self/comm").write_text(before)
    assert (kind, payload) == (b"L", b"%d a?7 b\n" % os.getpid())


def test_the_command_of_a_self_test_may_ask_in_the_terminal(tmp_path):
    asks = tmp_path / "asks"
    asks.write_text('#!/bin/sh\nread word </dev/tty\necho "got $word" >&2\nexit 3\n')
    asks.chmod(0o755)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(TOOL, ["cyclescope", "selftest", "exec:%s" % asks])
    try:
        os.write(terminal, b"secret\n")
        said = b""
        while b"got secret" not in said:
            said += os.read(terminal, 4096)
            assert b"3 s of at most" not in said
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def test_a_self_test_without_end_is_ended():
    said = sentence(tool("selftest", "exec:cat /dev/zero #"))
    assert "prints more than 64 MiB" in said
