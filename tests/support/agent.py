"""Programs under the inspector, and a client of its socket."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("CYCLESCOPE_BUILD", ROOT / "build" / "release"))
TOOL = BUILD / "bin" / "cyclescope"
HOOK = BUILD / "lib" / "cyclescope"
INSPECTOR = HOOK / "_cyclescope.abi3.so"
NOBODY = 65534
PROGRAMS = ROOT / "fixtures" / "programs"


def environment(directory, **more):
    """The environment that loads the inspector by PYTHONPATH."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CYCLESCOPE", "PYTHON"))
    }
    variables.update(PYTHONPATH=str(HOOK), CYCLESCOPE_DIR=str(directory))
    variables.update({name: str(value) for name, value in more.items()})
    return variables


def tool(*arguments, **options):
    """What the command-line tool did, ended."""
    options.setdefault("timeout", 120)
    return subprocess.run(
        [str(TOOL), *map(str, arguments)], capture_output=True, text=True, **options
    )


def ask(*arguments):
    """What a verb says with --json."""
    done = tool(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def as_nobody(*command):
    """The command as a user who owns nothing here."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    ids = ["--reuid=%d" % NOBODY, "--regid=%d" % NOBODY, "--clear-groups"]
    return ["setpriv", *ids, *map(str, command)]


def started_by(command):
    """A prefix that has the shell do `command` first, then becomes the program."""
    return ["/bin/sh", "-c", command + '; exec "$0" "$@"']


class Target:
    """A fixture program: it says `ready`, answers line by line, ends with stdin."""

    def __init__(self, process, directory):
        self.process = process
        self.pid = process.pid
        self.socket_path = str(directory / ("cyclescope-%d.sock" % process.pid))

    def read(self):
        line = self.process.stdout.readline()
        assert line, "the program ended: exit status %s" % self.process.wait(10)
        return line.rstrip("\n")

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.read()

    def request(self, name, timeout=60, **fields):
        return request(self.socket_path, name, timeout, **fields)

    def snapshot(self, *watch, **fields):
        if watch:
            fields["watch"] = list(watch)
        report = self.request("snapshot", **fields)
        assert "error" not in report, report["error"]
        return report

    def snapshot_with_ids(self, *watch):
        """The report, and {address: (type, state)} of every tracked object."""
        with tempfile.TemporaryFile() as file:
            report = self.snapshot(*watch, ids=True, descriptor=file.fileno())
            file.seek(0)
            ids = {}
            for line in file.read().decode().splitlines():
                address, rest = line.split(" ", 1)
                ids[int(address, 16)] = tuple(rest.rsplit(" ", 1))
        return report, ids


def request(socket_path, name, timeout=60, descriptor=None, **fields):
    """One request, one reply; the reply is parsed."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(socket_path)
        line = json.dumps({"request": name, **fields}).encode() + b"\n"
        if descriptor is None:
            connection.sendall(line)
        else:
            socket.send_fds(connection, [line], [descriptor])
        reply = bytearray()
        while not reply.endswith(b"\n"):
            part = connection.recv(1 << 20)
            if not part:
                raise ConnectionError("the agent closed the connection")
            reply += part
    return json.loads(reply)


def oracle(socket_path):
    """What a snapshot calls floating and what the collector does, in one heap.

    (report, {address: type}, addresses in gc.garbage), or None if a collection
    was under way. The service must allow it.
    """
    with tempfile.TemporaryFile() as file:
        answer = request(socket_path, "oracle", descriptor=file.fileno())
        assert "error" not in answer, answer
        if "error" in answer["report"]:
            assert "collection was under way" in answer["report"]["error"]
            return None
        file.seek(0)
        floating = {}
        for line in file.read().decode().splitlines():
            address, rest = line.split(" ", 1)
            name, state = rest.rsplit(" ", 1)
            if state == "floating":
                floating[int(address, 16)] = name
    return answer["report"], floating, set(answer["garbage"])


@contextlib.contextmanager
def running(
    program, python, directory, arguments=(), options=(), says=None, prefix=(), **variables
):
    """Runs a fixture program, yields it once it says `ready`, lets it end.

    It must still be alive then, exit with 0 and say nothing on stderr, or what
    the function `says` is true of; `stderr()` gives what it has said so far.
    """
    with tempfile.TemporaryFile("w+") as stderr:

        def said():
            return os.pread(stderr.fileno(), 1 << 24, 0).decode()

        process = subprocess.Popen(
            [*prefix, python.path, *options, str(PROGRAMS / program), *map(str, arguments)],
            text=True,
            env=environment(directory, **variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
        try:
            target = Target(process, directory)
            target.stderr = said
            assert target.read() == "ready"
            yield target
            assert process.poll() is None, "the target died while it was inspected"
            process.stdin.close()
            assert process.wait(timeout=30) == 0
            assert says(said()) if says else said() == "", said()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def wait_until(condition, seconds=10):
    """Polls until the condition holds and returns what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "it did not happen in %d s" % seconds
        time.sleep(0.005)
