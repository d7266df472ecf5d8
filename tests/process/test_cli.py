"""The command line: bad input is a sentence, and kills leave a readable run."""

import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import time

import pytest
from support.agent import PROGRAMS, TOOL, environment, running, wait_until


def tool(*arguments, **options):
    options.setdefault("timeout", 60)
    return subprocess.run(
        [str(TOOL), *map(str, arguments)], capture_output=True, text=True, **options
    )


def assert_one_sentence(done, status, *words):
    assert done.returncode == status, (done.stdout, done.stderr)
    text = done.stderr.strip()
    assert text and "Traceback" not in text and "terminate" not in text
    for word in words:
        assert word in text, text


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["frobnicate"], ["frobnicate"]),
        (["snapshot"], ["TARGET"]),
        (["snapshot", "1", "--no-such-flag"], ["--no-such-flag"]),
        (["record", "1"], ["--output"]),
        (["verdict"], ["RUN"]),
        (["compare", "/tmp"], ["PATCHED"]),
        (["load"], ["--"]),
        (["demo", "--archives", "0"], ["--archives"]),
        (["demo", "--collector", "sometimes"], ["--collector"]),
        (["run"], ["CMD"]),
    ],
)
def test_bad_command_lines_are_usage_errors(arguments, words):
    assert_one_sentence(tool(*arguments), 2, *words)


def test_a_pid_that_is_not_there():
    assert_one_sentence(tool("snapshot", "4194303"), 1, "4194303")


def test_a_process_that_is_no_python():
    with subprocess.Popen(["sleep", "60"]) as sleep:
        try:
            assert_one_sentence(tool("snapshot", sleep.pid), 1, str(sleep.pid))
        finally:
            sleep.kill()


def test_a_python_without_the_inspector_is_told_how_to_load_it(any_python):
    with subprocess.Popen([any_python.path, "-c", "input()"], stdin=subprocess.PIPE) as bare:
        try:
            assert_one_sentence(
                tool("snapshot", bare.pid), 1, str(bare.pid), "cyclescope run"
            )
        finally:
            bare.kill()


def test_a_socket_that_nobody_listens_to(tmp_path):
    path = tmp_path / "cyclescope-1.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    assert_one_sentence(tool("snapshot", path), 1, str(path))


def test_a_reply_that_is_no_json(tmp_path):
    path = tmp_path / "cyclescope-1.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        asking = subprocess.Popen(
            [str(TOOL), "snapshot", str(path)], stderr=subprocess.PIPE, text=True
        )
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"<html>\n")
            _, errors = asking.communicate(timeout=30)
    assert asking.returncode == 1
    assert "JSON" in errors


@pytest.mark.parametrize("verb", ["verdict", "report"])
def test_a_folder_that_holds_no_run(verb, tmp_path):
    assert_one_sentence(tool(verb, tmp_path), 1, str(tmp_path))
    assert_one_sentence(tool(verb, tmp_path / "nowhere"), 1, "nowhere")


def test_a_damaged_run_folder(tmp_path):
    (tmp_path / "run.json").write_text("{")
    (tmp_path / "run.db").write_text("no database")
    assert_one_sentence(tool("verdict", tmp_path), 1, str(tmp_path))


def test_a_broker_that_is_not_there():
    done = tool(
        "load", "--broker", "127.0.0.1:1", "--s3", "http://127.0.0.1:1",
        "--archives", "1",
    )
    assert_one_sentence(done, 1, "127.0.0.1:1")


def test_an_archive_file_that_is_missing(tmp_path):
    done = tool(
        "load", "--broker", "127.0.0.1:1", "--s3", "http://127.0.0.1:1",
        "--archives", "1", "--file", tmp_path / "missing.tar.gz",
    )
    assert_one_sentence(done, 1, "missing.tar.gz")


def test_a_patch_that_does_not_apply(tmp_path):
    patch = tmp_path / "wrong.patch"
    patch.write_text("--- a/insights/no/such.py\n+++ b/insights/no/such.py\n@@ -1 +1 @@\n-a\n+b\n")
    done = tool("demo", "--archives", "10", "--patch", patch, "--output", tmp_path / "out")
    assert_one_sentence(done, 1, "wrong.patch")


def test_run_passes_the_exit_status_and_loads_the_inspector(any_python, agent_directory):
    done = subprocess.run(
        [
            str(TOOL), "run", "--", any_python.path, "-c",
            "import sys; print('_cyclescope' in sys.modules); sys.exit(5)",
        ],
        capture_output=True,
        text=True,
        env=environment(agent_directory, PYTHONPATH=""),
    )
    assert (done.returncode, done.stdout, done.stderr) == (5, "True\n", "")


def test_run_of_a_command_that_is_not_there():
    assert_one_sentence(tool("run", "--", "no-such-command"), 1, "no-such-command")


def test_snapshot_by_pid_and_ids_to_a_file(python, agent_directory, tmp_path):
    with running("known_cycles.py", python, agent_directory, (1, 2, 1)) as target:
        done = tool(
            "snapshot", target.pid, "--json", "--watch", "Broker",
            "--ids", tmp_path / "ids",
        )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    [row] = report["watched"]
    assert (row["pinned"], row["floating"], row["in_flight"]) == (1, 2, 1)
    states = [
        line.split()[2]
        for line in (tmp_path / "ids").read_text().splitlines()
        if line.split()[1] == "__main__.Broker"
    ]
    assert sorted(states) == ["floating", "floating", "in_flight", "pinned"]


def test_diff_says_what_grew_and_what_cannot_be_compared(
    any_python, agent_directory, tmp_path
):
    paths = [tmp_path / "a", tmp_path / "b", tmp_path / "other", tmp_path / "no-report"]
    for numbers in [paths[:2], paths[2:3]]:
        with running("three_cycles.py", any_python, agent_directory) as target:
            for path in numbers:
                done = tool("snapshot", target.pid, "--json")
                path.write_text(done.stdout)
    paths[3].write_text("{}")
    done = tool("diff", *paths[:2])
    assert done.returncode == 0, done.stderr
    assert "collector on" in done.stdout and "malloc_used" in done.stdout
    assert_one_sentence(tool("diff", paths[0], paths[2]), 12, "not of one process")
    assert_one_sentence(tool("diff", paths[0], paths[3]), 12, "no snapshot report")
    assert_one_sentence(tool("diff", paths[0], tmp_path / "missing"), 1, "missing")


def test_ids_onto_a_full_disk(any_python, agent_directory):
    with running("three_cycles.py", any_python, agent_directory) as target:
        assert_one_sentence(
            tool("snapshot", target.pid, "--ids", "/dev/full"), 1, "/dev/full"
        )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small tmpfs")
def test_recording_onto_a_full_disk_is_a_sentence(any_python, agent_directory, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("tmpfs cannot be mounted here: %s" % mounted.stderr.decode().strip())
    try:
        with running("known_cycles.py", any_python, agent_directory, (1, 1, 0)) as target:
            done = tool(
                "record", target.pid, "--output", disk / "run", "--interval", "100ms",
                "--for", "30s", timeout=120,
            )
        assert_one_sentence(done, 1, str(disk))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def record(target, folder, *more):
    return subprocess.Popen(
        [
            str(TOOL), "record", str(target.pid), "--output", str(folder),
            "--interval", "50ms", *more,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_readable(folder):
    done = tool("verdict", folder)
    assert done.returncode in (0, 10, 11, 12), done.stderr
    page = folder.parent / (folder.name + ".html")
    done = tool("report", folder, "--output", page)
    assert done.returncode in (0, 10, 11, 12), done.stderr
    assert "</html>" in page.read_text()


def test_a_killed_recorder_leaves_a_readable_run(any_python, agent_directory, tmp_path):
    moments = random.Random(4)
    with running("known_cycles.py", any_python, agent_directory, (1, 1, 0)) as target:
        for number in range(8):
            folder = tmp_path / ("run%d" % number)
            recorder = record(target, folder, "--for", "60s")
            wait_until((folder / "run.db").exists)
            wait_until((folder / "run.json").exists)
            time.sleep(moments.uniform(0, 1))  # The moment is the test.
            recorder.kill()
            recorder.communicate()
            assert_readable(folder)


def test_a_killed_service_ends_the_recording_with_a_sentence(
    any_python, agent_directory, tmp_path
):
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [any_python.path, str(PROGRAMS / "known_cycles.py"), "1", "1", "0"],
        env=environment(agent_directory),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        recorder = record(process, folder, "--for", "60s")
        wait_until(lambda: list(folder.glob("snapshots/*.json")))
        process.kill()
        _, errors = recorder.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert recorder.returncode in (1, 12)
    assert str(process.pid) in errors
    assert_readable(folder)


def test_an_interrupted_recording_is_kept_and_says_130(
    any_python, agent_directory, tmp_path
):
    folder = tmp_path / "run"
    with running("known_cycles.py", any_python, agent_directory, (1, 1, 0)) as target:
        recorder = record(target, folder, "--for", "60s")
        wait_until(lambda: list(folder.glob("snapshots/*.json")))
        recorder.send_signal(signal.SIGINT)
        recorder.communicate(timeout=60)
    assert recorder.returncode == 130
    assert_readable(folder)


def test_every_verb_has_help_with_an_example():
    verbs = ["run", "snapshot", "diff", "load", "record", "verdict", "compare", "report", "demo"]
    for verb in verbs:
        done = tool(verb, "--help")
        assert done.returncode == 0 and "Example: cyclescope %s" % verb in done.stdout


def test_nothing_of_ours_is_left_in_the_usual_places(any_python):
    """Sockets go with their process where no directory is named."""
    env = {n: v for n, v in os.environ.items() if not n.startswith(("CYCLESCOPE", "PYTHON"))}
    done = subprocess.run(
        [str(TOOL), "run", "--", any_python.path, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        env=env,
    )
    pid = int(done.stdout)
    for directory in ("/run", "/tmp", "/dev/shm"):
        assert not pathlib.Path(directory, "cyclescope-%d.sock" % pid).exists()
