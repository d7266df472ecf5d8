"""Reports that nobody asks for by the socket: interval, signal, memory limit."""

import contextlib
import json
import os
import pathlib
import select
import signal
import subprocess
import sys

import pytest
from support.agent import PROGRAMS, environment, running, started_by, wait_until

PROGRAM = "runs_code.py"
MEMORY_CGROUPS = pathlib.Path("/sys/fs/cgroup/memory")


def program(python, directory, code="", **more):
    return running(PROGRAM, python, directory, (code,), **more)


def reports(directory):
    paths = sorted(directory.glob("cyclescope-*.json"))
    return [json.loads(path.read_text()) for path in paths]


def triggers(directory):
    return [report["taken"]["trigger"] for report in reports(directory)]


def test_a_signal_gives_a_report_and_python_sees_no_handler(python, agent_directory):
    code = """
import signal
assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL
"""
    with program(python, agent_directory, code, CYCLESCOPE_SIGNAL="USR2") as target:
        for count in range(1, 4):
            os.kill(target.pid, signal.SIGUSR2)
            wait_until(lambda: len(reports(agent_directory)) == count)
        settings = target.request("settings")["settings"]
    assert triggers(agent_directory) == ["signal"] * 3
    assert (settings["signal"], settings["signal_taken"]) == ("USR2", False)


def test_without_the_variable_the_signal_does_what_it_did(python, agent_directory):
    done = subprocess.run(
        [python.path, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGUSR2)"],
        env=environment(agent_directory),
        timeout=20,
    )
    assert done.returncode == -signal.SIGUSR2


def test_a_handler_that_the_service_installs_later_stays(python, agent_directory):
    code = """
import os, signal
signal.signal(signal.SIGUSR2, lambda number, frame: os.write(1, b"mine\\n"))
def ready():
    print("ready", flush=True)
    for line in sys.stdin:
        print("still here", flush=True)
ready()
sys.exit()
"""
    with program(python, agent_directory, code, CYCLESCOPE_SIGNAL="USR2") as target:
        os.kill(target.pid, signal.SIGUSR2)
        assert target.read() == "mine"
        assert target.tell("more") == "still here"
        settings = target.request("settings")["settings"]
    assert settings["signal_taken"] is True
    assert reports(agent_directory) == []


def test_a_handler_in_c_that_passes_the_signal_on_reaches_us(python, agent_directory):
    code = """
import faulthandler, os, signal
faulthandler.register(signal.SIGUSR2, file=open(os.devnull, "w"), chain=True)
"""
    with program(python, agent_directory, code, CYCLESCOPE_SIGNAL="USR2") as target:
        for count in range(1, 3):
            os.kill(target.pid, signal.SIGUSR2)
            wait_until(lambda: len(reports(agent_directory)) == count)


def test_forked_children_take_the_signal_as_without_us(python, agent_directory):
    code = """
import os, signal, time
pid = os.fork()
if pid == 0:
    os.write(1, b"forked\\n")
    time.sleep(60)
    os._exit(0)
assert sys.stdin.readline() == "kill\\n"
os.kill(pid, signal.SIGUSR2)
assert os.waitstatus_to_exitcode(os.wait()[1]) == -signal.SIGUSR2
"""
    with subprocess.Popen(
        [python.path, str(PROGRAMS / PROGRAM), code],
        env=environment(
            agent_directory, CYCLESCOPE_SIGNAL="USR2", CYCLESCOPE_CHILDREN="none"
        ),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == "forked\n"
        process.stdin.write("kill\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
        process.stdin.close()
        assert process.wait(10) == 0
    assert reports(agent_directory) == []


def test_forked_workers_report_on_the_signal_themselves(python, agent_directory):
    code = """
import os, signal, time
pid = os.fork()
if pid == 0:
    while os.getppid() != 1:
        time.sleep(0.01)
    os._exit(0)
print(pid, flush=True)
def ready():
    assert sys.stdin.readline() == "end\\n"
    os.kill(pid, signal.SIGKILL)
    os.wait()
print("ready", flush=True)
ready()
sys.exit()
"""
    with subprocess.Popen(
        [python.path, "-W", "ignore", str(PROGRAMS / PROGRAM), code],
        env=environment(
            agent_directory, CYCLESCOPE_SIGNAL="USR2", CYCLESCOPE_CHILDREN="workers"
        ),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        worker = int(process.stdout.readline())
        assert process.stdout.readline() == "ready\n"
        socket_path = agent_directory / ("cyclescope-%d.sock" % worker)
        wait_until(socket_path.exists)
        os.kill(worker, signal.SIGUSR2)
        wait_until(lambda: reports(agent_directory))
        process.stdin.write("end\n")
        process.stdin.close()
        assert process.wait(10) == 0
    [report] = reports(agent_directory)
    assert report["process"]["pid"] == worker


def test_an_ignored_signal_stays_ignored(python, agent_directory):
    code = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.environ["CYCLESCOPE"] = "1"
code = "import os, signal; os.kill(os.getpid(), signal.SIGHUP); print('ignored')"
os.execv(sys.executable, [sys.executable, "-c", code])
"""
    done = subprocess.run(
        [python.path, "-c", code],
        env=environment(agent_directory, CYCLESCOPE="0", CYCLESCOPE_SIGNAL="HUP"),
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stdout) == (0, "ignored\n")
    assert "SIGHUP is ignored in this process" in done.stderr


@pytest.mark.parametrize(
    "variables, sentence",
    [
        ({"CYCLESCOPE_SIGNAL": "TERM"}, "CYCLESCOPE_SIGNAL=TERM cannot be used"),
        ({"CYCLESCOPE_AT": "80"}, "CYCLESCOPE_AT=80 is no share of the memory limit"),
        ({"CYCLESCOPE_AT": "180%"}, "CYCLESCOPE_AT=180% is no share"),
        ({"CYCLESCOPE_ALLOW": "all"}, "CYCLESCOPE_ALLOW=all is not known"),
    ],
)
def test_a_wrong_value_is_one_line(python, agent_directory, variables, sentence):
    done = subprocess.run(
        [python.path, "-c", "print('started')"],
        env=environment(agent_directory, **variables),
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stdout) == (0, "started\n")
    [line] = done.stderr.splitlines()
    assert line.startswith("cyclescope: not loaded: ") and sentence in line


def test_stderr_gets_one_line_of_counts(python, agent_directory):
    code = """
import gc
gc.disable()
class Session: pass
def make():
    for _ in range(7):
        session = Session()
        session.itself = session
make()
# More types and longer names than a line has room for.
keep = [type("T%d_" % i + "é" * 300, (), {})() for i in range(100)]
"""
    with program(
        python,
        agent_directory,
        code,
        says=lambda text: text.endswith("}\n"),
        CYCLESCOPE_OUT="stderr",
        CYCLESCOPE_SIGNAL="USR1",
        CYCLESCOPE_WATCH="Session",
    ) as target:
        os.kill(target.pid, signal.SIGUSR1)
        wait_until(lambda: target.stderr().endswith("\n"))
        [line] = target.stderr().splitlines()
    assert len(line.encode()) + 1 < select.PIPE_BUF
    counts = json.loads(line)
    assert counts["schema"] == "cyclescope.counts/1"
    assert (counts["pid"], counts["trigger"]) == (target.pid, "signal")
    assert counts["watched"] == [
        {"type": "__main__.Session", "alive": 7, "pinned": 0, "floating": 7, "in_flight": 0}
    ]
    [cycle] = [c for c in counts["common"] if c["signature"] == "Session → Session"]
    assert cycle["count"] == 7
    assert counts["cycles"]["count"] >= 7 and counts["cycles"]["signatures"] >= 1
    assert counts["rss"] > 1 << 20 and counts["floating_bytes"] > 7 * 16
    assert len(counts["types"]) > 3
    assert not list(agent_directory.glob("*.json"))


def test_a_full_pipe_at_stderr_does_not_stop_the_service(python, agent_directory):
    code = """
import os
filler, room = b"x" * 4096, 0
os.set_blocking(2, False)
try:
    while True:
        os.write(2, filler)
except BlockingIOError:
    pass
os.set_blocking(2, True)
def ready():
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.wait()
        print("forked", flush=True)
ready()
sys.exit()
"""
    with subprocess.Popen(
        [python.path, str(PROGRAMS / PROGRAM), code],
        env=environment(
            agent_directory, CYCLESCOPE_EVERY="5ms", CYCLESCOPE_OUT="stderr"
        ),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        for _ in range(50):
            process.stdin.write("again\n")
            process.stdin.flush()
            assert process.stdout.readline() == "forked\n"
        process.stdin.close()
        assert process.wait(10) == 0


def test_the_newest_hundred_files_are_kept(python, agent_directory):
    with program(python, agent_directory, CYCLESCOPE_EVERY="1ms") as target:
        for number in (7, 41):  # Of an earlier process with this pid.
            name = "cyclescope-%d-%05d.json" % (target.pid, number)
            (agent_directory / name).write_text("{}")
        newest = lambda: max(agent_directory.glob("*.json")).name  # noqa: E731
        wait_until(lambda: int(newest().split("-")[2][:5]) >= 160, 60)
        kept = len(list(agent_directory.glob("*.json")))
    assert 99 <= kept <= 101


def test_a_thousand_of_all_processes_are_kept_and_the_oldest_go(
    any_python, agent_directory
):
    """As workers leave them that come and go."""
    for pid in range(1, 1101):
        path = agent_directory / ("cyclescope-%d-1.json" % (1_000_000 + pid))
        path.write_text("{}")
        os.utime(path, (pid, pid))
    (agent_directory / "cyclescope-1-notes.json").write_text("not ours")
    with program(any_python, agent_directory, CYCLESCOPE_EVERY="5ms") as target:
        own = "cyclescope-%d-" % target.pid
        wait_until(lambda: list(agent_directory.glob(own + "*.json")))
    left = [path.name for path in agent_directory.glob("cyclescope-1??????-1.json")]
    assert len(left) == 999
    assert "cyclescope-1000001-1.json" not in left and "cyclescope-1001100-1.json" in left
    assert (agent_directory / "cyclescope-1-notes.json").exists()


def test_reports_of_an_earlier_process_are_not_written_over(python, agent_directory):
    code = """
import os, sys
name = "cyclescope-%d-00041.json" % os.getpid()
open(os.path.join(os.environ["CYCLESCOPE_DIR"], name), "w").write("last words")
"""
    with program(
        python, agent_directory, code, CYCLESCOPE_SIGNAL="USR2"
    ) as target:
        os.kill(target.pid, signal.SIGUSR2)
        path = agent_directory / ("cyclescope-%d-%%05d.json" % target.pid)
        wait_until(lambda: os.path.exists(str(path) % 42))
        assert pathlib.Path(str(path) % 41).read_text() == "last words"


@contextlib.contextmanager
def memory_cgroup(megabytes):
    """A v1 memory cgroup with a limit; gone afterwards."""
    group = MEMORY_CGROUPS / ("cyclescope-test-%d" % os.getpid())
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(megabytes << 20))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip("no memory cgroup (v1) can be made here: %s" % error)
    try:
        yield group
    finally:
        wait_until(lambda: (group / "cgroup.procs").read_text() == "")
        group.rmdir()


GROWS = r"""
import mmap
def ready():
    print("ready", flush=True)
    kept = []
    for line in sys.stdin:
        if line == "drop\n":
            kept.pop().close()
        else:
            size = int(line) << 20
            kept.append(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE))
            for page in range(0, size, 4096):
                kept[-1][page] = 1
        print("done", flush=True)
ready()
sys.exit()
"""


def test_a_share_of_the_memory_limit_gives_one_report_a_crossing(
    python, agent_directory
):
    with memory_cgroup(400) as group:
        enter = started_by("echo $$ > %s/cgroup.procs" % group)
        with running(
            PROGRAM,
            python,
            agent_directory,
            (GROWS,),
            prefix=enter,
            CYCLESCOPE_AT="60%",
        ) as target:

            def seen():
                return target.request("settings")["settings"]["memory_percent"]

            target.tell("222")
            target.tell("80")
            wait_until(lambda: len(reports(agent_directory)) == 1)
            target.tell("drop")
            wait_until(lambda: 55 < seen() < 60)
            target.tell("80")  # It had not fallen by five points.
            wait_until(lambda: seen() >= 70)
            target.tell("drop")
            target.tell("drop")
            wait_until(lambda: seen() < 50)
            assert len(reports(agent_directory)) == 1
            target.tell("300")
            wait_until(lambda: len(reports(agent_directory)) == 2)
        assert triggers(agent_directory) == ["memory"] * 2
        for report in reports(agent_directory):
            assert report["heap"]["objects"] > 1000


def test_a_service_of_nothing_but_objects_has_room_for_its_report_at_half_the_limit(
    python, agent_directory
):
    """No snapshot before it, and it stands still: else all is copied as well."""
    with memory_cgroup(400) as group:
        code = """
class Session:
    def __init__(self, number): self.number = number; self.parts = (number, [number])
sessions = []
def usage():
    return int(open("%s/memory.usage_in_bytes").read())
def ready():
    print("ready", flush=True)
    sys.stdin.readline()
    while usage() < 204 << 20:
        sessions.extend(Session(10**6 + i) for i in range(2000))
    print("done", flush=True)
    sys.stdin.read()
ready()
sys.exit()
""" % group
        enter = started_by("echo $$ > %s/cgroup.procs" % group)
        with running(
            PROGRAM, python, agent_directory, (code,), prefix=enter, CYCLESCOPE_AT="50%"
        ) as target:
            assert target.tell("grow") == "done"
            wait_until(lambda: triggers(agent_directory) == ["memory"])
            [report] = reports(agent_directory)
            assert "error" not in report, report["error"]
            assert report["heap"]["objects"] > 500_000


def test_without_a_limit_there_is_a_sentence(python, agent_directory):
    limits = pathlib.Path("/proc/self/cgroup").read_text()
    for line in limits.splitlines():
        if ":memory:" in line:
            group = str(MEMORY_CGROUPS) + line.split(":memory:")[1]
            limit = int(pathlib.Path(group, "memory.limit_in_bytes").read_text())
            if limit < 1 << 60:
                pytest.skip("the tests themselves run under a memory limit")
    with program(
        python,
        agent_directory,
        says=lambda text: text.startswith(
            "cyclescope: CYCLESCOPE_AT has nothing to watch: "
        ),
        CYCLESCOPE_AT="80%",
    ) as target:
        assert "nothing to watch" in target.request("settings")["settings"]["at"]
        assert target.snapshot()["taken"]["trigger"] == "request"


def test_the_limit_of_address_space_is_watched_where_there_is_no_other(
    python, agent_directory
):
    code = """
import mmap
def ready():
    print("ready", flush=True)
    sys.stdin.readline()
    memory = mmap.mmap(-1, 24 << 30, flags=mmap.MAP_PRIVATE | 0x4000)
    print("done", flush=True)
    sys.stdin.read()
ready()
sys.exit()
"""
    enter = started_by("ulimit -v 33554432")
    with running(
        PROGRAM, python, agent_directory, (code,), prefix=enter, CYCLESCOPE_AT="75%"
    ) as target:
        assert target.request("settings")["settings"]["at"] == "75%"
        assert target.tell("grow") == "done"
        wait_until(lambda: triggers(agent_directory) == ["memory"])
        for report in reports(agent_directory):
            assert report["heap"]["objects"] > 1000
