"""Servers with worker processes: an agent in each, no request lost, exits as
without us. A snapshot of every process each second meanwhile."""

import collections
import contextlib
import http.client
import json
import os
import signal
import subprocess
import threading
import time

import pytest
from support.agent import PROGRAMS, environment, request, wait_until
from support.platform import VENVS, free_port

BIN = VENVS / "tests" / "bin"
REQUESTS = 1000
SECONDS = 3.0  # For all of them, so that there are snapshots meanwhile.


def sockets(directory):
    return {int(path.stem.split("-")[1]): str(path) for path in directory.glob("*.sock")}


class Watcher:
    """Asks every agent in the directory for a snapshot each second."""

    def __init__(self, directory):
        self.directory = directory
        self.seen = collections.Counter()  # pid: snapshots
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stop.is_set():
            until = time.monotonic() + 1
            for pid, path in sockets(self.directory).items():
                with contextlib.suppress(OSError, ValueError):  # It may end.
                    report = request(path, "snapshot")
                    if "error" not in report:
                        assert report["process"]["pid_in_namespace"] == pid
                        self.seen[pid] += 1
            self.stop.wait(max(0, until - time.monotonic()))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def load(port, count, seconds, middle=lambda: None):
    """Requests one after the other on four connections at a constant pace; the
    pids that answered. Raises for a request that is not answered."""
    answered, failures = collections.Counter(), []

    def client(numbers):
        begin = time.monotonic()
        try:
            for done, number in enumerate(numbers):
                time.sleep(max(0, begin + seconds * done / len(numbers) - time.monotonic()))
                if number == count // 2:
                    middle()
                # A new one each: a server may close a kept one at any time.
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request("GET", "/")
                answer = connection.getresponse()
                assert answer.status == 200
                answered[int(answer.read())] += 1
                connection.close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=client, args=(range(i, count, 4),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    return answered


@contextlib.contextmanager
def server(command, env, log):
    port = free_port()
    with open(log, "w") as file:
        process = subprocess.Popen(
            [str(word).replace("PORT", str(port)) for word in command],
            # A shell's `&` would leave SIGINT ignored.
            env=env, cwd=PROGRAMS, stdout=file, stderr=file, restore_signals=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    try:
        def answers():
            assert process.poll() is None, open(log).read()
            with contextlib.suppress(OSError):
                return load_once(port)

        wait_until(answers, 30)
        yield process, port
    finally:
        process.kill()
        process.wait()


def load_once(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/")
    return connection.getresponse().read()


def workers(pid):
    """Its children that serve; not the one that keeps account for multiprocessing."""
    children = open("/proc/%d/task/%d/children" % (pid, pid)).read().split()
    return {
        int(child) for child in children
        if b"resource_tracker" not in open("/proc/%s/cmdline" % child, "rb").read()}


GUNICORN = [BIN / "python", "-m", "gunicorn", "web_service:application", "-b", "127.0.0.1:PORT", "-w", 2]
SERVERS = {
    "gunicorn sync": GUNICORN,
    "gunicorn preload": [*GUNICORN, "--preload"],
    "gunicorn gthread": [*GUNICORN, "-k", "gthread", "--threads", 3],
    "uvicorn": [BIN / "python", "-m", "uvicorn", "web_service:app", "--port", "PORT", "--workers", 2],
    "uvicorn single": [BIN / "python", "-m", "uvicorn", "web_service:app", "--port", "PORT"],
}
RELOADS = {"gunicorn sync", "gunicorn preload", "gunicorn gthread", "uvicorn"}


def exit_of(process, number):
    process.send_signal(number)
    return process.wait(40)


@pytest.mark.parametrize("ending", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("name", SERVERS)
def test_web_servers_lose_no_request_and_exit_as_without_us(
    agent_directory, tmp_path, name, ending
):
    env = environment(agent_directory)
    number = getattr(signal, ending)
    with server(SERVERS[name], {**env, "PYTHONPATH": ""}, tmp_path / "plain") as (process, _):
        expected = exit_of(process, number)
    with server(SERVERS[name], env, tmp_path / "log") as (process, port):
        with Watcher(agent_directory) as watcher:
            reload = name in RELOADS and ending == "SIGTERM"
            answered = load(
                port, REQUESTS, SECONDS,
                lambda: reload and process.send_signal(signal.SIGHUP))
        assert sum(answered.values()) == REQUESTS
        # Every worker that is there now can be reached.
        now = {process.pid}
        wait_until(lambda: now.update(workers(process.pid)) or now <= set(sockets(agent_directory)))
        for pid in workers(process.pid) | {process.pid}:
            assert request(sockets(agent_directory)[pid], "ping")["pid"] == pid
        assert len(answered) >= (2 if reload else 1)
        assert set(watcher.seen) & set(answered)
        assert exit_of(process, number) == expected
    assert "cyclescope" not in (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()
    if expected < 0:  # Ended by the signal, so without a chance to tidy up.
        assert set(sockets(agent_directory)) <= {process.pid}
    else:
        assert not sockets(agent_directory)


def run_tasks(python, method, env, during=None):
    process = subprocess.Popen(
        [python.path, "-W", "error", str(PROGRAMS / "task_workers.py"), method, str(REQUESTS)],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        if during:
            during(process)
        said, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    *lines, last = said.splitlines()
    done = {int(pid): int(count) for pid, count in map(str.split, lines)}
    return process.returncode, last, errors, done


@pytest.mark.parametrize("method", ["prefork", "fork", "spawn", "forkserver"])
def test_worker_processes_lose_no_task(python, agent_directory, method):
    env = environment(agent_directory)

    def during(process):
        time.sleep(0.4)
        if method == "prefork":
            process.send_signal(signal.SIGHUP)

    with Watcher(agent_directory) as watcher:
        status, last, errors, done = run_tasks(python, method, env, during)
    assert (status, last, errors) == (0, "done", "")
    assert sum(done.values()) == REQUESTS
    assert len(done) == (6 if method == "prefork" else 3)
    assert set(watcher.seen) & set(done), "no worker was reached"
    assert not sockets(agent_directory)


@pytest.mark.parametrize("children, reached", [("none", False), ("workers", True), ("all", True)])
@pytest.mark.parametrize("method", ["prefork", "fork", "spawn", "forkserver"])
def test_which_workers_have_an_agent(any_python, agent_directory, method, children, reached):
    env = environment(agent_directory, CYCLESCOPE_CHILDREN=children)
    seen = set()
    # Beside the workers: the process that forks them, and what keeps account.
    others = {"forkserver": 1}.get(method, 0)
    others += method in ("spawn", "forkserver") and children == "all"

    def during(process):
        if reached:
            count = 1 + 3 + others
            wait_until(lambda: len(sockets(agent_directory)) == count)
        seen.update(sockets(agent_directory))

    status, last, errors, done = run_tasks(any_python, method, env, during)
    assert (status, last, errors) == (0, "done", "")
    assert (set(done) <= seen) if reached else not set(done) & seen


CELERY = """
import os
from celery import Celery
folder = os.environ["CELERY_FOLDER"]
app = Celery("celery_app", broker="filesystem://", backend="file://" + folder + "/results")
app.conf.update(
    broker_transport_options={
        "data_folder_in": folder + "/queue", "data_folder_out": folder + "/queue",
        "control_folder": folder + "/control"},
    worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)


class Job:
    pass


@app.task
def work(number):
    job = Job()
    job.itself = job
    return number, os.getpid()
"""


def test_celery_workers_lose_no_task(agent_directory, tmp_path):
    """The real one, its queue in a folder."""
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()
    (tmp_path / "celery_app.py").write_text(CELERY)
    put = (
        "import celery_app; "
        "[celery_app.work.apply_async((n,), task_id=str(n)) for n in range(%d)]" % REQUESTS)
    plain = {**environment(agent_directory), "PYTHONPATH": str(tmp_path),
             "CELERY_FOLDER": str(tmp_path)}
    armed = {**plain, "PYTHONPATH": environment(agent_directory)["PYTHONPATH"] + ":" + str(tmp_path)}
    command = [BIN / "python", "-m", "celery", "-A", "celery_app", "worker", "-c", "2", "-l", "INFO",
               "-P", "prefork", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    exits = []
    for env in (plain, armed):
        with open(tmp_path / "log", "w") as log:
            process = subprocess.Popen(command, env=env, cwd=tmp_path, stdout=log, stderr=log)
        try:
            wait_until(lambda: " ready." in (tmp_path / "log").read_text(), 30)
            if env is armed:
                with Watcher(agent_directory) as watcher:
                    subprocess.run([BIN / "python", "-c", put], env=plain, check=True)
                    wait_until(lambda: len(os.listdir(tmp_path / "results")) == REQUESTS, 60)
                    wait_until(lambda: len(watcher.seen) >= 3)
            exits.append(exit_of(process, signal.SIGTERM))
        finally:
            process.kill()
            process.wait()
    results = [json.loads(path.read_text())["result"] for path in (tmp_path / "results").iterdir()]
    assert sorted(number for number, _ in results) == list(range(REQUESTS))
    assert {pid for _, pid in results} <= set(watcher.seen)
    assert exits[0] == exits[1]
    assert "cyclescope" not in (tmp_path / "log").read_text()
    wait_until(lambda: not sockets(agent_directory))
