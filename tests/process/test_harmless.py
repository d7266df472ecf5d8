"""The service behaves as without us: exits, forks, signals, start-up."""

import collections
import concurrent.futures
import os
import subprocess

import pytest
from support.agent import HOOK, PROGRAMS, environment, running, wait_until

WAYS = ["return", "sys.exit", "SIGTERM", "exception"]
EXITS = int(os.environ.get("CYCLESCOPE_EXITS", "1000"))


def leave(python, way, env):
    done = subprocess.run(
        [python.path, str(PROGRAMS / "leaves.py"), way],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_exits_during_snapshots_are_as_without_us(python, agent_directory):
    """1,000 on each CPython, a quarter of them each way."""
    armed = environment(agent_directory, CYCLESCOPE_EVERY="2ms")
    plain = {**armed, "CYCLESCOPE": "0"}
    expected = {way: leave(python, way, plain) for way in WAYS}
    assert [expected[way][0] for way in WAYS] == [0, 7, -15, 1]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() + 1) as pool:
        ways = WAYS * (EXITS // len(WAYS))
        results = pool.map(lambda way: (way, leave(python, way, armed)), ways)
        seen = collections.Counter(results)
    wrong = [
        (way, result) for way, result in seen if result != expected[way]
    ]
    assert wrong == []
    # Snapshots were really under way: reports came out, or were cut short.
    assert len(list(agent_directory.glob("*.json*"))) > EXITS // 20
    sockets = list(agent_directory.glob("*.sock"))
    assert len(sockets) <= seen[("SIGTERM", expected["SIGTERM"])]


@pytest.mark.parametrize("children", ["none", "workers"])
@pytest.mark.parametrize("arguments", [(), ("pool",), ("prefork",)])
def test_forks_with_warnings_as_errors_are_as_without_us(
    python, agent_directory, arguments, children
):
    with running(
        "forks.py",
        python,
        agent_directory,
        arguments,
        options=("-W", "error"),
        CYCLESCOPE_EVERY="5ms",
        CYCLESCOPE_CHILDREN=children,
    ) as target:
        for _ in range(50):
            assert target.tell("again") == "forked"
        assert target.snapshot("Nothing")["heap"]["objects"] > 1000
        reports = wait_until(lambda: list(agent_directory.glob("*.json")))
        assert reports


def test_snapshots_are_answered_while_the_service_forks(python, agent_directory):
    with running("forks.py", python, agent_directory) as target:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            forks = pool.submit(lambda: [target.tell("again") for _ in range(100)])
            answers = [target.request("snapshot") for _ in range(10)]
            assert forks.result() == ["forked"] * 100
    assert all("heap" in answer for answer in answers)


def descriptors(pid):
    return sorted(os.listdir("/proc/%d/fd" % pid), key=int)


def threads(pid):
    return len(os.listdir("/proc/%d/task" % pid))


def settled(pid):
    """Descriptors and threads, once the agent has noticed that clients left."""
    last = []

    def unchanged():
        last.append((descriptors(pid), threads(pid)))
        return len(last) >= 20 and all(state == last[-1] for state in last[-20:])

    wait_until(unchanged)
    return last[-1]


def test_nothing_is_left_behind_by_snapshots(python, agent_directory):
    with running("known_cycles.py", python, agent_directory, (1, 1, 1)) as target:
        target.snapshot("Broker")
        before = settled(target.pid)
        for _ in range(50):
            target.snapshot("Broker")
        assert settled(target.pid) == before
        children = open("/proc/%d/task/%d/children" % (target.pid, target.pid)).read()
        assert children == ""


def test_snapshots_do_not_change_the_heap_that_they_see(python, agent_directory):
    with running("known_cycles.py", python, agent_directory, (2, 2, 0)) as target:
        target.snapshot("Broker")  # The program may still be sitting down.
        seen = [target.snapshot("Broker")["heap"] for _ in range(5)]
    assert all(heap == seen[0] for heap in seen)


def output_of(python, code, env, *options):
    done = subprocess.run(
        [python.path, *options, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_hook_makes_way_for_the_next_sitecustomize(
    python, agent_directory, tmp_path
):
    (tmp_path / "sitecustomize.py").write_text("loaded = 'the next one'\n")
    env = environment(agent_directory)
    env["PYTHONPATH"] += os.pathsep + str(tmp_path)
    code = (
        "import sys, sitecustomize; print(sitecustomize.loaded, "
        "%r in sys.path, '_cyclescope' in sys.modules)" % str(HOOK)
    )
    assert output_of(python, code, env) == (0, "the next one False True\n", "")


def test_an_error_in_the_next_sitecustomize_is_told_as_without_us(
    python, agent_directory, tmp_path
):
    (tmp_path / "sitecustomize.py").write_text("raise ValueError('its own')\n")
    with_us = environment(agent_directory)
    with_us["PYTHONPATH"] += os.pathsep + str(tmp_path)
    without_us = {**with_us, "PYTHONPATH": str(tmp_path)}
    assert output_of(python, "print(1)", with_us) == output_of(
        python, "print(1)", without_us
    )


def test_loading_leaves_no_garbage(python, agent_directory):
    env = environment(agent_directory)
    code = "import gc; print(gc.collect())"
    without = output_of(python, code, {**env, "CYCLESCOPE": "0", "PYTHONPATH": ""})
    assert output_of(python, code, env) == without


@pytest.mark.parametrize(
    "variables, sentence",
    [
        ({"CYCLESCOPE_EVERY": "soon"}, "CYCLESCOPE_EVERY=soon is no duration"),
        ({"CYCLESCOPE_DIR": "/no/such"}, "CYCLESCOPE_DIR=/no/such cannot be written"),
        ({"CYCLESCOPE_CHILDREN": "some"}, "CYCLESCOPE_CHILDREN=some is not known"),
        ({"CYCLESCOPE_DIR": "/tmp/" + "x" * 120}, "cannot be written"),
    ],
)
def test_what_the_hook_cannot_do_is_one_line_and_the_service_starts(
    python, agent_directory, variables, sentence
):
    env = environment(agent_directory, **variables)
    status, output, errors = output_of(python, "print('started')", env)
    assert (status, output) == (0, "started\n")
    [line] = errors.splitlines()
    assert line.startswith("cyclescope: not loaded: ") and sentence in line


def test_programs_that_the_service_starts_are_not_armed(python, agent_directory):
    env = environment(agent_directory)
    code = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', "
        "'import sys; print(\"_cyclescope\" in sys.modules)'])"
    )
    assert output_of(python, code, env) == (0, "False\n", "")


def test_switched_off_it_is_not_there(python, agent_directory):
    env = environment(agent_directory, CYCLESCOPE="0")
    code = "import sys; print('_cyclescope' in sys.modules)"
    assert output_of(python, code, env) == (0, "False\n", "")
    assert not list(agent_directory.iterdir())


SANDBOXES = [
    ["unshare", "--pid", "--fork"],
    ["unshare", "--pid", "--fork", "--mount-proc"],
    ["unshare", "--mount", "sh", "-c", 'umount -l /proc; exec "$@"', "sh"],
]
STARTS = """
import subprocess, sys
command = [*sys.argv[1:], sys.executable, "-c", "import sys; print('_cyclescope' in sys.modules)"]
sys.exit(subprocess.run(command).returncode)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces")
@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_program_in_a_sandbox_says_nothing_of_us(python, agent_directory, sandbox):
    """Where its parent cannot be seen, or /proc not at all."""
    done = subprocess.run([python.path, "-c", STARTS, *sandbox], env=environment(agent_directory),
                          capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


ENTERS_A_NAMESPACE = """
import ctypes, os, subprocess
CLONE_NEWUSER = 0x10000000
libc = ctypes.CDLL(None, use_errno=True)
def enter():
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
for _ in range(5):
    subprocess.run(["true"], preexec_fn=enter, check=True)
print("done")
"""


def test_a_preexec_fn_runs_in_a_process_with_one_thread(python, agent_directory):
    """The kernel lets no other enter a user namespace."""
    env = environment(agent_directory)
    expected = output_of(python, ENTERS_A_NAMESPACE, {**env, "CYCLESCOPE": "0"})
    if expected != (0, "done\n", ""):
        pytest.skip("no user namespaces here")
    assert output_of(python, ENTERS_A_NAMESPACE, env) == expected


FORKS_AND_EXITS = """
import os, socket, sys
folder = os.environ["CYCLESCOPE_DIR"]
with socket.socket(socket.AF_UNIX) as agent:  # It has searched when it answers.
    agent.settimeout(20)
    agent.connect(folder + "/cyclescope-%d.sock" % os.getpid())
    agent.sendall(b'{"request":"ping"}' + bytes([10]))
    agent.recv(1)
stale = folder + "/cyclescope-99999999.sock"
with socket.socket(socket.AF_UNIX) as left:
    left.bind(stale)
for _ in range(5):
    if os.fork() == 0:
        sys.exit()
    os.wait()
print(os.path.exists(stale))
"""


def test_children_that_exit_at_once_search_nothing_and_say_nothing(python, agent_directory):
    """What they could not do either, their parent has said."""
    env = environment(agent_directory, CYCLESCOPE_SIGNAL="HUP")
    command = 'trap "" HUP; exec "$0" -c "$1"'
    done = subprocess.run(["sh", "-c", command, python.path, FORKS_AND_EXITS], env=env,
                          capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "True\n")
    [line] = done.stderr.splitlines()
    assert "SIGHUP is ignored" in line


RETURNS_IN_A_CHILD = """
import os, threading, time
def work():
    pid = os.fork()
    if pid == 0:
        time.sleep(0.2)
        return  # And with it the child's only thread.
    for _ in range(1000):
        if os.waitpid(pid, os.WNOHANG) == (pid, 0):
            print("ended")
            return
        time.sleep(0.01)
    os.kill(pid, 9)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("every", ["1h", "3ms"])
def test_a_child_that_a_thread_forks_ends_with_that_thread(python, agent_directory, every):
    env = environment(agent_directory, CYCLESCOPE_EVERY=every)
    assert output_of(python, RETURNS_IN_A_CHILD, env, "-W", "ignore") == (0, "ended\n", "")
