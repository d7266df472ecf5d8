"""Who may talk to the agent, where it listens, and what a request can do."""

import fcntl
import json
import os
import pathlib
import resource
import socket
import stat
import subprocess
import sys
import tempfile
import threading

import pytest
from support.agent import ask, environment, request, running, wait_until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
PROGRAM = "three_cycles.py"
NOBODY, SOMEBODY = 65534, 1234


def python_in(directory, python, code="print('started')", prefix=(), user=None, **variables):
    """A program that is armed, ends; (status, stdout, what the agent says)."""
    done = subprocess.run(
        [*prefix, python.path, "-c", code], env=environment(directory, **variables), user=user,
        capture_output=True, text=True, timeout=60, cwd="/")
    return done.returncode, done.stdout, done.stderr.removeprefix("cyclescope: not loaded: ")


ASKS = """
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.settimeout(20)
    s.connect(sys.argv[1])
    try:
        s.sendall(b'{"request":"ping"}' + bytes([10]))
    except BrokenPipeError:
        pass
    print(s.makefile().readline())
"""


def ask_as(user, path, prefix=()):
    done = subprocess.run([*prefix, sys.executable, "-c", ASKS, path], user=user,
                          capture_output=True, text=True, cwd="/", timeout=30)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("umask", [0o022, 0o000, 0o777])
def test_the_socket_is_for_its_user_alone_from_its_first_moment(
    python, agent_directory, umask
):
    code = "import os, sys; mask = os.umask(%d); os.execv(sys.argv[1], sys.argv[1:])" % umask
    with running(PROGRAM, python, agent_directory, prefix=[python.path, "-I", "-c", code]) as target:
        mode = os.stat(target.socket_path).st_mode
        assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
        assert target.request("ping")["pong"] is True
    assert not os.path.exists(target.socket_path)


@needs_root
def test_another_user_gets_a_sentence(python, agent_directory):
    os.chmod(agent_directory, 0o755)
    with running(PROGRAM, python, agent_directory) as target:
        with pytest.raises(AssertionError, match="PermissionError"):
            ask_as(NOBODY, target.socket_path)
        os.chmod(target.socket_path, 0o666)  # So that only the peer check is left.
        assert ask_as(NOBODY, target.socket_path) == {"error": (
            "this process answers only root and its own user, uid 0, and sees you as uid "
            "65534; ask as one of these")}
        assert ask_as(0, target.socket_path)["pong"] is True


@needs_root
def test_root_and_the_service_s_own_user_are_answered(any_python, agent_directory):
    os.chown(agent_directory, NOBODY, NOBODY)
    as_nobody = ["setpriv", "--reuid=65534", "--clear-groups"]
    with running(PROGRAM, any_python, agent_directory, prefix=as_nobody) as target:
        assert os.stat(target.socket_path).st_uid == NOBODY
        assert ask_as(0, target.socket_path)["pong"] is True
        assert ask_as(NOBODY, target.socket_path)["pong"] is True
        with pytest.raises(AssertionError, match="PermissionError"):
            ask_as(SOMEBODY, target.socket_path)


@needs_root
def test_in_a_user_namespace_who_has_no_number_there_is_not_root(any_python, agent_directory):
    """Mapped: SOMEBODY as root. The machine's root is unknown there."""
    os.chown(agent_directory, SOMEBODY, SOMEBODY)
    inside = ["setpriv", "--reuid=%d" % SOMEBODY, "--clear-groups",
              "unshare", "--user", "--map-root-user"]
    with running(PROGRAM, any_python, agent_directory, prefix=inside) as target:
        path = target.socket_path
        assert ask_as(SOMEBODY, path)["pong"] is True
        [error] = ask_as(0, path).values()
        assert "uid 0, and sees you as uid 65534" in error


@needs_root
def test_an_unknown_user_is_not_taken_for_nobody(any_python, agent_directory):
    """A service that runs as 65534 in a user and a pid namespace of its own."""
    os.chown(agent_directory, SOMEBODY, SOMEBODY)
    inside = ["setpriv", "--reuid=%d" % SOMEBODY, "--clear-groups", "unshare", "--user",
              "--map-user=%d" % NOBODY, "--pid", "--fork", "--kill-child"]
    process = subprocess.Popen(
        [*inside, any_python.path, "-c", "print('ready', flush=True); input()"],
        env=environment(agent_directory), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        [error] = ask_as(0, str(agent_directory / "cyclescope-1.sock")).values()
        assert "sees you as a user that its user namespace does not know" in error
    finally:
        process.communicate("\n", timeout=20)


# The directory.


def in_the_way(kind, path, elsewhere):
    """Puts something there, and gives a function that tells whether it is unchanged."""
    if kind == "file":
        path.write_text("precious")
        return lambda: path.read_text() == "precious"
    if kind == "directory":
        path.mkdir()
        return path.is_dir
    if kind == "fifo":
        os.mkfifo(path)
        return path.is_fifo
    if kind == "dangling link":
        path.symlink_to(elsewhere / "nothing")
        return lambda: path.is_symlink() and not (elsewhere / "nothing").exists()
    target = elsewhere / "target"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(target if kind == "link to a socket" else path))
    if kind == "live socket":
        listener.listen()
        return lambda: path.is_socket() and listener.fileno() >= 0
    if kind == "bound socket":  # As between bind and listen.
        return lambda: path.is_socket() and listener.fileno() >= 0
    if kind == "link to a socket":
        path.symlink_to(target)
        listener.close()  # Stale, and yet not ours to take away.
        return lambda: path.is_symlink() and target.is_socket()
    raise ValueError(kind)


WITH_SOMETHING = """
import os, sys
own = os.environ["CYCLESCOPE_DIR"] + "/cyclescope-%d" % os.getpid()
os.rename(os.environ["CYCLESCOPE_DIR"] + "/it", own + ".sock")
os.environ["CYCLESCOPE"] = "1"
if sys.argv[1] == "twice":
    namespace = os.readlink("/proc/self/ns/pid")[5:-1]
    open(own + "-" + namespace + ".sock", "x").close()
os.execv(sys.executable, [sys.executable, "-c", "import sys; print('ready', flush=True); input()"])
"""
KINDS = ["file", "directory", "fifo", "dangling link", "live socket", "bound socket",
         "link to a socket"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("twice", ["once", "twice"])
def test_what_is_in_the_way_stays_and_another_name_is_taken(
    any_python, agent_directory, tmp_path, kind, twice
):
    """As in a directory shared by containers, where each service has pid 1."""
    elsewhere = pathlib.Path(tempfile.mkdtemp(prefix="cs-", dir="/tmp"))
    place = agent_directory / "it"
    is_unchanged = in_the_way(kind, place, elsewhere)
    process = subprocess.Popen(
        [any_python.path, "-c", WITH_SOMETHING, twice],
        env=environment(agent_directory, CYCLESCOPE="0"), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n"
    own = agent_directory / ("cyclescope-%d.sock" % process.pid)
    namespace = os.readlink("/proc/self/ns/pid")[5:-1]
    second = agent_directory / ("cyclescope-%d-%s.sock" % (process.pid, namespace))
    if twice == "once":
        assert request(str(second), "ping")["pid"] == process.pid
    _, errors = process.communicate("\n", timeout=20)
    assert process.returncode == 0
    if twice == "once":
        assert errors == ""
        assert not second.exists()
    else:
        assert "something else is there" in errors and len(errors.splitlines()) == 1
        assert second.read_text() == ""
    os.rename(own, place)
    assert is_unchanged()
    subprocess.run(["rm", "-rf", str(elsewhere)], check=True)


@needs_root
def test_containers_that_share_a_directory_have_a_socket_each(any_python, agent_directory):
    """Both have pid 1. The second that comes does not steal the first's name."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child",
               any_python.path, "-c", "print('ready', flush=True); input()"]
    processes = []
    for _ in range(2):
        processes.append(subprocess.Popen(
            command, env=environment(agent_directory), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert processes[-1].stdout.readline() == "ready\n"
    names = sorted(path.name for path in agent_directory.iterdir())
    assert len(names) == 2 and "cyclescope-1.sock" in names
    [other] = set(names) - {"cyclescope-1.sock"}
    inside = [
        open("/proc/%d/task/%d/children" % ((process.pid,) * 2)).read().split()[0]
        for process in processes]
    assert other == "cyclescope-1-%s.sock" % os.readlink("/proc/%s/ns/pid" % inside[1])[5:-1]
    # The tool finds each one's own, by its pid on this machine.
    watched = [ask("snapshot", process, "--watch", "int")["process"] for process in inside]
    assert [seen["pid_in_namespace"] for seen in watched] == [1, 1]
    assert [ask_as(0, str(agent_directory / name))["pid"] for name in names] == [1, 1]
    processes[0].communicate("\n", timeout=20)
    assert [path.name for path in agent_directory.iterdir()] == [other]
    processes[1].communicate("\n", timeout=20)
    assert not list(agent_directory.iterdir())


def test_many_that_start_at_once_do_not_take_each_other_s(any_python, agent_directory):
    """Stale sockets of killed ones meanwhile, which go; live ones stay."""
    for number in range(50):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(agent_directory / ("cyclescope-%d.sock" % (90_000_000 + number))))
    others = ["other.sock", "cyclescope-5.sock.txt", "cyclescope-5.json"]
    for name in others:
        (agent_directory / name).write_text("")
    processes = [
        subprocess.Popen([any_python.path, "-c", "input()"], env=environment(agent_directory),
                         text=True, stdin=subprocess.PIPE)
        for _ in range(20)]
    expected = {"cyclescope-%d.sock" % process.pid for process in processes} | set(others)
    wait_until(lambda: set(os.listdir(agent_directory)) == expected)
    for process in processes:
        path = str(agent_directory / ("cyclescope-%d.sock" % process.pid))
        assert request(path, "ping")["pid"] == process.pid
        process.communicate("\n", timeout=20)
    assert set(os.listdir(agent_directory)) == set(others)


def test_nobody_who_keeps_the_lock_stops_a_service(any_python, agent_directory):
    stale = agent_directory / "cyclescope-90000000.sock"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(stale))
    folder = os.open(agent_directory, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        with running(PROGRAM, any_python, agent_directory) as target:
            assert target.request("ping")["pong"] is True
            assert stale.exists()
    finally:
        os.close(folder)


def test_a_killed_service_s_socket_goes_when_the_next_one_starts(python, agent_directory):
    process = subprocess.Popen(
        [python.path, "-c", "print('ready', flush=True); input()"],
        env=environment(agent_directory), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate()
    assert len(list(agent_directory.iterdir())) == 1
    with running(PROGRAM, python, agent_directory) as target:
        own = [pathlib.Path(target.socket_path).name]
        wait_until(lambda: os.listdir(agent_directory) == own)


@needs_root
@pytest.mark.parametrize("mode, owner, sentence", [
    (0o755, NOBODY, "belongs to uid 65534"),
    (0o777, 0, "may be written by everybody"),
    (0o777, NOBODY, "belongs to uid 65534"),
    (0o700, 0, None), (0o775, 0, None), (0o1777, 0, None), (0o1777, NOBODY, None)])
def test_a_directory_that_others_can_change_is_refused(
    any_python, agent_directory, mode, owner, sentence
):
    os.chown(agent_directory, owner, -1)
    os.chmod(agent_directory, mode)
    status, said, errors = python_in(agent_directory, any_python)
    assert (status, said) == (0, "started\n")
    if sentence is None:
        assert errors == ""
    else:
        assert errors.startswith("CYCLESCOPE_DIR=%s %s" % (agent_directory, sentence))
        assert len(errors.splitlines()) == 1


@needs_root
@pytest.mark.parametrize("options", ["mode=0777", "mode=0777,uid=65534"])
def test_a_volume_is_taken(any_python, agent_directory, options):
    """Kubernetes makes an emptyDir like the first."""
    mounts = ["unshare", "--mount", "/bin/sh", "-c",
              'mount -t tmpfs -o %s none "$0" && exec "$@"' % options, str(agent_directory)]
    assert python_in(agent_directory, any_python, prefix=mounts) == (0, "started\n", "")


@needs_root
def test_a_full_an_unreadable_and_an_odd_directory(any_python, agent_directory):
    full = ["unshare", "--mount", "/bin/sh", "-c",
            'mount -t tmpfs -o nr_inodes=1,mode=0755 none "$0" && exec "$@"', str(agent_directory)]
    status, said, errors = python_in(agent_directory, any_python, prefix=full)
    assert (status, said) == (0, "started\n") and "No space left on device" in errors
    # Write and search without read: as a drop box.
    os.chown(agent_directory, NOBODY, NOBODY)
    os.chmod(agent_directory, 0o300)
    assert python_in(agent_directory, any_python, user=NOBODY) == (0, "started\n", "")
    os.chmod(agent_directory, 0o500)
    assert "cannot be written" in python_in(agent_directory, any_python, user=NOBODY)[2]
    assert "is no directory" in python_in("/dev/null", any_python)[2] or (
        "cannot be written" in python_in("/dev/null", any_python)[2])


# Clients.


def test_ten_thousand_connections_leave_room_for_the_next(any_python, agent_directory):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10_000, hard - 100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, hard))
    clients = []
    try:
        with running(PROGRAM, any_python, agent_directory) as target:
            before = len(os.listdir("/proc/%d/fd" % target.pid))
            for _ in range(count):
                clients.append(socket.socket(socket.AF_UNIX))
                clients[-1].connect(target.socket_path)
            assert target.request("ping", timeout=10)["pong"] is True
            assert len(os.listdir("/proc/%d/fd" % target.pid)) <= before + 17
            assert target.snapshot()["heap"]["objects"] > 1000
    finally:
        for client in clients:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_requests_than_are_answered_at_once_all_get_an_answer(any_python, agent_directory):
    with running(PROGRAM, any_python, agent_directory) as target:
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(target.request("snapshot")))
                   for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 40 and all("heap" in answer for answer in answers)


ODD = {
    "read only": lambda path: open(path / "file", "w").close() or open(path / "file"),
    "directory": lambda path: _Descriptor(os.open(path, os.O_RDONLY)),
    "/dev/full": lambda path: open("/dev/full", "w"),
    "closed pipe": lambda path: _closed_pipe(),
    "listening socket": lambda path: _listening(),
    "path only": lambda path: _Descriptor(os.open(path, os.O_PATH)),
    "itself": lambda path: None,
}


class _Descriptor:
    def __init__(self, number):
        self.number = number

    def fileno(self):
        return self.number

    def close(self):
        os.close(self.number)


def _closed_pipe():
    reads, writes = os.pipe()
    os.close(reads)
    return _Descriptor(writes)


def _listening():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


@pytest.mark.parametrize("what", ["ids", "heap"])
@pytest.mark.parametrize("kind", ODD)
def test_descriptors_that_cannot_be_written_are_a_sentence(
    any_python, agent_directory, tmp_path, kind, what
):
    with running(PROGRAM, any_python, agent_directory) as target:
        line = json.dumps({"request": "snapshot", what: True}).encode() + b"\n"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(target.socket_path)
            odd = ODD[kind](tmp_path) or client
            socket.send_fds(client, [line], [odd.fileno()])
            if odd is not client:
                odd.close()
                assert "error" in json.loads(client.makefile().readline())
            else:  # It gets what it asked for, where it asked for it.
                assert client.recv(1 << 16)
        assert target.request("ping")["pong"] is True
        assert sorted(os.listdir(tmp_path)) == (["file"] if kind == "read only" else [])
        assert os.listdir(agent_directory) == [os.path.basename(target.socket_path)]


def test_requests_that_change_the_process_are_refused(python, agent_directory):
    code = "import gc, sys; gc.disable(); print('ready', flush=True); sys.stdin.read()"
    with running("runs_code.py", python, agent_directory, (code,)) as target:
        before = target.request("gc_stats")["gc"]["stats"]
        for name in ("collect", "trim", "oracle"):
            assert "CYCLESCOPE_ALLOW=" + name in target.request(name)["error"]
        for name in ("exec", "eval", "import", "values", "write", "dump", "", "snapshot "):
            assert "is not known" in target.request(name)["error"]
        target.snapshot(path="/tmp/cyclescope-must-not-be", out="/tmp/cyclescope-must-not-be")
        assert target.request("gc_stats")["gc"]["stats"] == before
    assert not os.path.exists("/tmp/cyclescope-must-not-be")


def test_values_cannot_be_allowed(any_python, agent_directory):
    errors = python_in(agent_directory, any_python, CYCLESCOPE_ALLOW="collect,values")[2]
    assert errors == "CYCLESCOPE_ALLOW=values is not known; collect and trim are\n"


def test_no_network_socket_is_opened(any_python, agent_directory):
    with running(PROGRAM, any_python, agent_directory) as target:
        target.snapshot()
        links = [os.readlink("/proc/%d/fd/%s" % (target.pid, name))
                 for name in os.listdir("/proc/%d/fd" % target.pid)]
        own = {link[8:-1] for link in links if link.startswith("socket:")}
        for table in ("tcp", "tcp6", "udp", "udp6", "raw", "packet"):
            path = pathlib.Path("/proc/%d/net/%s" % (target.pid, table))
            if path.exists():
                assert not own & set(path.read_text().split())


# Daemons.

CLOSES_ALL = """
import os, sys, time
if sys.argv[2] == "forked":
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        sys.exit()
    time.sleep(float(sys.argv[3]))
before = {int(name) for name in os.listdir("/proc/self/fd")}
os.closerange(3, 256)
# What was the agent's is the service's now.
files = [open(os.environ["FOLDER"] + "/%d" % number, "w+") for number in range(3, 20)]
pipes = [os.pipe() for _ in range(3)]
for file in files:
    file.write("mine")
    file.flush()
time.sleep(0.3)
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
os.kill(os.getpid(), 12)
print("ready", os.getpid(), flush=True)
sys.stdin.readline()
for file in files:
    file.seek(0)
    assert file.read() == "mine", "written to a file of the service"
for reads, writes in pipes:
    os.write(writes, b"x")
    assert os.read(reads, 100) == b"x", "written to a pipe of the service"
print("done", flush=True)
"""


@pytest.mark.parametrize("how", [("itself", 0), ("forked", 0), ("forked", 0.2)])
def test_a_daemon_that_closes_all_descriptors_keeps_its_own(
    python, agent_directory, tmp_path, how
):
    """And is answered afterwards."""
    env = environment(agent_directory, FOLDER=tmp_path, CYCLESCOPE_SIGNAL="USR2")
    process = subprocess.Popen(
        [python.path, "-c", CLOSES_ALL, "", *map(str, how)], env=env, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    word, pid = process.stdout.readline().split()
    path = agent_directory / ("cyclescope-%s.sock" % pid)

    def answers():
        try:
            return request(str(path), "snapshot")["heap"]["objects"] > 1000
        except OSError:
            return False

    wait_until(answers)
    said, errors = process.communicate("\n", timeout=20)
    assert (process.returncode, said, errors) == (0, "done\n", "")
    assert not list(agent_directory.glob("*.sock"))


OPENS_STANDARD = """
import os, sys, time
out = os.dup(1)
os.set_inheritable(out, False)
os.dup2(out, 200)
if sys.argv[1] == "forked" and os.fork():
    os.wait()
    sys.exit()
os.closerange(0, 200)
time.sleep(0.4)  # The agent makes new descriptors meanwhile.
numbers = [os.open(os.devnull, os.O_RDWR)]
if os.fork() == 0:
    numbers += [os.open(os.devnull, os.O_RDWR)]
    os.write(200, repr(numbers).encode())
    os._exit(0)
os.wait()
"""


@pytest.mark.parametrize("who", ["itself", "forked"])
def test_what_a_daemon_opens_first_is_its_standard_input(python, agent_directory, who):
    """It closes all descriptors and relies on the lowest number, as open promises."""
    done = subprocess.run([python.path, "-c", OPENS_STANDARD, who], env=environment(agent_directory),
                          capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0, 1]", "")


def test_a_service_without_standard_streams_gets_their_numbers(python, agent_directory):
    code = ("import os; a = [os.open(os.devnull, os.O_RDWR) for _ in range(2)]; "
            "os.write(2, repr(a).encode())")
    command = 'exec "$0" -c "$1" <&- >&-'
    done = subprocess.run(["sh", "-c", command, python.path, code], env=environment(agent_directory),
                          stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "[0, 1]")


FORKS_A_CHILD = """
import os, socket, sys, time
if os.fork():
    os.wait()
    sys.exit()
if sys.argv[1] == "user":
    os.setuid(65534)
else:
    os.chroot(sys.argv[2])
end = time.monotonic() + (20 if sys.argv[1] == "user" else 0.3)
with socket.socket(socket.AF_UNIX) as agent:
    while time.monotonic() < end:
        try:
            agent.connect("/tmp/cyclescope-%d.sock" % os.getpid())
            print("listens")
            break
        except OSError:
            time.sleep(0.01)
"""


@needs_root
@pytest.mark.parametrize("child, said", [("user", "listens\n"), ("root", "")])
def test_a_worker_that_gives_up_its_rights_says_nothing(python, agent_directory, child, said):
    """And listens where it still may; nowhere in an empty root."""
    env = environment(agent_directory)
    del env["CYCLESCOPE_DIR"]
    done = subprocess.run([python.path, "-c", FORKS_A_CHILD, child, agent_directory], env=env,
                          capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    assert not list(agent_directory.iterdir())
