"""`import cyclescope` in the service, and interactive sessions."""

import json
import os
import pty
import subprocess

import pytest
from support.agent import HOOK, environment, running, wait_until


def run(python, code, env, *options):
    done = subprocess.run(
        [python.path, *options, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


KNOWN = """
import gc
gc.disable()
class Session: pass
for _ in range(7):
    session = Session()
    session.itself = session
del session
import cyclescope
"""


def test_a_snapshot_is_a_dict(python, agent_directory):
    code = KNOWN + """
report = cyclescope.snapshot(watch="Session")
print(report["watched"][0]["floating"], report["taken"]["trigger"])
print([row["alive"] for row in cyclescope.snapshot(["Session", "no.Such"])["watched"]])
print(cyclescope.snapshot()["watched"][0]["type"])
import sys
print(%r in sys.path)
""" % str(HOOK)
    lines, errors = run(python, code, environment(agent_directory))
    assert lines == ["7 python", "[7, 0]", "insights.core.dr.Broker", "False"]
    assert errors == ""


def test_a_snapshot_goes_to_a_file(python, agent_directory, tmp_path):
    path = tmp_path / "report.json"
    code = KNOWN + "print(cyclescope.snapshot('__main__.Session', path=%r))" % str(path)
    lines, _ = run(python, code, environment(agent_directory))
    assert lines == [str(path)]
    assert json.loads(path.read_text())["watched"][0]["floating"] == 7
    assert os.listdir(tmp_path) == ["report.json"]


def test_it_can_be_imported_without_the_hook(python, agent_directory):
    code = "import sys; sys.path.insert(0, %r)\n" % str(HOOK) + KNOWN + """
sys.path.pop(0)
assert "_cyclescope" not in sys.modules
assert cyclescope.arm() is True and cyclescope.arm() is True
print(cyclescope.snapshot("Session")["watched"][0]["floating"])
"""
    env = {**environment(agent_directory), "PYTHONPATH": ""}
    assert run(python, code, env) == (["7"], "")


def test_switched_off_a_program_that_imports_it_still_runs(python, agent_directory):
    code = """
import cyclescope
print(cyclescope.arm())
try:
    cyclescope.snapshot()
except RuntimeError as error:
    print(error)
"""
    lines, errors = run(python, code, environment(agent_directory, CYCLESCOPE="0"))
    assert lines == ["False", "cyclescope is switched off by CYCLESCOPE=0"]
    assert errors == "" and not list(agent_directory.iterdir())


def test_programs_that_the_service_starts_can_arm_themselves(python, agent_directory):
    code = """
import subprocess, sys
code = '''
import sys, cyclescope
print("_cyclescope" in sys.modules)
print(cyclescope.snapshot("dict")["watched"][0]["alive"] > 10)
'''
subprocess.run([sys.executable, "-c", code], check=True)
"""
    assert run(python, code, environment(agent_directory)) == (["False", "True"], "")


def test_a_forked_child_can_arm_itself(python, agent_directory):
    code = """
import cyclescope, os
cyclescope.snapshot()
pid = os.fork()
if pid == 0:
    print(cyclescope.snapshot()["process"]["pid"] == os.getpid(), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(cyclescope.snapshot()["process"]["pid"] == os.getpid())
"""
    assert run(python, code, environment(agent_directory), "-W", "error") == (
        ["True", "True"],
        "",
    )


@pytest.mark.parametrize("where", ["main", "thread"])
def test_threads_snapshot_and_fork_at_once(python, agent_directory, where):
    code = """
import cyclescope, os, threading
def fork():
    for _ in range(50):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
def look():
    for _ in range(20):
        assert cyclescope.snapshot()["heap"]["objects"] > 1000
mine, other = (look, fork) if %r == "main" else (fork, look)
thread = threading.Thread(target=other)
thread.start()
mine()
thread.join()
print("done")
""" % where
    lines, _ = run(python, code, environment(agent_directory), "-W", "ignore")
    assert lines == ["done"]


def test_errors_are_a_sentence(python, agent_directory):
    code = """
import cyclescope
for arguments in ({"watch": 5}, {"watch": [5]}, {"path": "/no/such/file"}):
    try:
        cyclescope.snapshot(**arguments)
    except (RuntimeError, TypeError, OSError) as error:
        print(type(error).__name__)
"""
    lines, _ = run(python, code, environment(agent_directory))
    assert lines == ["TypeError", "TypeError", "FileNotFoundError"]
    code = """
import cyclescope
try:
    cyclescope.arm()
except RuntimeError as error:
    print(error)
"""
    env = environment(agent_directory, CYCLESCOPE_DIR="/no/such")
    lines, _ = run(python, code, env)
    assert lines == ["CYCLESCOPE_DIR=/no/such cannot be written; name another directory"]


def test_a_signal_interrupts_the_wait(python, agent_directory):
    code = """
import cyclescope, signal
class Stop(Exception): pass
def stop(number, frame): raise Stop
signal.signal(signal.SIGALRM, stop)
keep = [[] for _ in range(2_000_000)]
signal.setitimer(signal.ITIMER_REAL, 0.05)
try:
    cyclescope.snapshot()
except Stop:
    print("stopped")
print(cyclescope.snapshot()["taken"]["trigger"])
"""
    assert run(python, code, environment(agent_directory)) == (["stopped", "python"], "")


def test_exits_while_daemon_threads_wait_for_snapshots(python, agent_directory):
    code = """
import cyclescope, threading, time
def look():
    try:
        while True:
            cyclescope.snapshot()
    except RuntimeError as error:
        assert "the process is ending" in str(error)
for _ in range(4):
    threading.Thread(target=look, daemon=True).start()
time.sleep(0.1)
"""
    for _ in range(10):
        assert run(python, code, environment(agent_directory)) == ([], "")


def test_a_handler_that_was_there_first_is_called_too(python, agent_directory):
    code = """
import os, signal, sys
signal.signal(signal.SIGUSR2, lambda number, frame: os.write(1, b"mine\\n"))
handler = signal.getsignal(signal.SIGUSR2)
os.environ["CYCLESCOPE"] = "1"
import cyclescope
cyclescope.arm()
assert signal.getsignal(signal.SIGUSR2) is handler
"""
    with running(
        "runs_code.py",
        python,
        agent_directory,
        (code,),
        CYCLESCOPE="0",
        CYCLESCOPE_SIGNAL="USR2",
    ) as target:
        os.kill(target.pid, 12)
        assert target.read() == "mine"
        wait_until(lambda: list(agent_directory.glob("*.json")))


def interactive(python, env, lines):
    """What a session on a terminal answers."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [python.path, "-q"], env=env, stdin=follower, stdout=follower, stderr=follower,
        start_new_session=True,
    ) as process:
        os.close(follower)
        os.write(leader, "".join(line + "\n" for line in lines).encode())
        said = b""
        try:
            while part := os.read(leader, 1 << 16):
                said += part
        except OSError:
            pass  # The session has ended.
        assert process.wait(20) == 0
    os.close(leader)
    return said.decode()


def test_interactive_sessions_are_armed_and_have_the_module(
    python, agent_directory, tmp_path
):
    following = tmp_path / "mine.py"
    following.write_text("mine = 'defined by the next one'\n")
    plain = {
        **environment(agent_directory),
        "PYTHONPATH": "",
        "TERM": "dumb",
        "PYTHON_HISTORY": str(tmp_path / "history"),
    }
    show = ["print('names', sorted(globals()))", "exit()"]

    def names(env):
        said = interactive(python, env, show)
        return set(said[said.rindex("names [") :].partition("]")[0].split("'"))

    without = names(plain)
    armed = {
        **plain,
        "PYTHONSTARTUP": str(HOOK / "pythonstartup.py"),
        "CYCLESCOPE_NEXT_STARTUP": str(following),
    }
    more = names(armed)
    assert more - without == {"cyclescope", "mine"}
    said = interactive(
        python,
        armed,
        ["print('alive', cyclescope.snapshot('dict')['watched'][0]['alive'] > 9, mine)", "exit()"],
    )
    assert "alive True defined by the next one" in said
