"""Snapshots of the real rules-processing cost it not one archive."""

import collections
import json
import os
import signal
import subprocess
import threading
import time

from support import agent
from support.platform import (
    BUCKET, GROUP, consumer_from_the_start, platform, rules_processing, wait_for_results,
)

ARCHIVES = 400

# Clears, on a signal, the tracebacks that begin in the function that `request`
# names, or all; writes what the collector tracked before, and what of it went.
CUTTER = """
import gc, os, signal
folder = os.path.dirname(__file__)
def write(name, ids):
    with open(folder + '/part', 'w') as file:
        file.write(' '.join(map(str, ids)))
    os.rename(folder + '/part', folder + '/' + name)
def cut(signum, frame):
    function = open(folder + '/request').read()
    before = gc.get_objects()
    ids = set(map(id, before))
    targets = []
    for thing in before:
        if issubclass(type(thing), BaseException) and thing.__traceback__ is not None:
            if function in ('', thing.__traceback__.tb_frame.f_code.co_qualname):
                targets.append(thing)
    del before
    thing = None
    while targets:
        targets.pop().__traceback__ = None
    after = gc.get_objects()
    went = ids.difference(map(id, after))
    del after
    write('tracked', ids)
    write('went', went)
gc.disable()
signal.signal(signal.SIGUSR1, cut)
"""


def test_400_archives_give_400_results_under_a_snapshot_a_second(
    agent_directory, tmp_path
):
    results = collections.Counter()
    states = collections.defaultdict(collections.Counter)
    reports = []
    stop = threading.Event()

    def count(consumer, note):
        while not stop.is_set():
            for message in consumer.consume(100, timeout=0.2):
                if message.error() is None:
                    note(json.loads(message.value()))
        consumer.close()

    def note_result(result):
        results[result["request_id"]] += 1

    def note_status(status):
        states[status["request_id"]][status["status"]] += 1

    def take_snapshots(socket_path):
        while not stop.wait(1):
            reports.append(agent.request(socket_path, "snapshot"))

    with platform() as (broker, s3), open(tmp_path / "log", "w") as log:
        threads = [
            threading.Thread(
                target=count,
                args=(consumer_from_the_start(broker, topic), note),
            )
            for topic, note in [
                ("ccx.insights.rules.results", note_result),
                ("platform.payload-status", note_status),
            ]
        ]
        with rules_processing(broker, s3, agent_directory, log) as service:
            threads.append(
                threading.Thread(target=take_snapshots, args=(service.socket_path,))
            )
            for thread in threads:
                thread.start()
            try:
                subprocess.run(
                    [
                        str(agent.TOOL), "load", "--broker", broker, "--s3", s3,
                        "--bucket", BUCKET, "--group", GROUP,
                        "--archives", str(ARCHIVES), "--seed", "7",
                    ],
                    check=True,
                    timeout=300,
                    stdout=subprocess.DEVNULL,
                )
                deadline = time.monotonic() + 120
                while len(results) < ARCHIVES and time.monotonic() < deadline:
                    time.sleep(0.1)
                time.sleep(1)  # What comes twice comes now.
                assert service.poll() is None
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
    assert service.returncode == 0
    assert set(results.values()) == {1}
    assert sorted(int(request[-16:], 16) for request in results) == list(range(ARCHIVES))
    assert {request: dict(seen) for request, seen in states.items()} == {
        request: {"received": 1, "processing": 1, "success": 1} for request in results
    }
    assert len(reports) >= 20
    assert [report.get("error") for report in reports] == [None] * len(reports)
    for report in reports:
        assert report["taken"]["pause_us"] > 0
        [broker_row] = report["watched"]
        assert broker_row["type"].endswith("Broker")  # Or what inherits from it.
        assert broker_row["pinned"] <= 1 and broker_row["never"] == 0
        heap = report["heap"]
        assert heap["accounted_share"] >= 0.97
        # What 3.11 counts and C code hands out uncounted.
        assert {row["type"] for row in heap["overcounted"]} <= {
            "builtins.bool", "builtins.NoneType"
        }


def test_floating_is_what_the_collector_finds_in_the_service_at_work(
    agent_directory, tmp_path
):
    found = 0
    with platform() as (broker, s3), open(tmp_path / "log", "w") as log:
        with rules_processing(
            broker, s3, agent_directory, log, CYCLESCOPE_ALLOW="oracle"
        ) as service:
            load = subprocess.Popen(
                [
                    str(agent.TOOL), "load", "--broker", broker, "--s3", s3,
                    "--bucket", BUCKET, "--group", GROUP,
                    "--archives", "100", "--seed", "11",
                ],
                stdout=subprocess.DEVNULL,
            )
            rounds = 0
            while load.poll() is None:
                result = agent.wait_until(lambda: agent.oracle(service.socket_path))
                report, floating, garbage = result
                differing = collections.Counter(
                    floating.get(address) for address in set(floating) ^ garbage
                )
                assert set(floating) == garbage, differing
                assert report["heap"]["floating_objects"] == len(garbage)
                rounds += 1
                found += len(garbage)
                time.sleep(1)
            assert load.returncode == 0
            assert service.poll() is None
    assert rounds >= 5 and found > 10_000


def read_ids(path):
    return set(map(int, path.read_text().split()))


def test_cutting_tracebacks_in_the_service_frees_what_was_foretold(agent_directory, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(CUTTER)
    path = "%s:%s" % (agent.HOOK, tmp_path)
    with platform() as (broker, s3), open(tmp_path / "log", "w") as log:
        with rules_processing(broker, s3, agent_directory, log, PYTHONPATH=path) as service:
            subprocess.run(
                [
                    str(agent.TOOL), "load", "--broker", broker, "--s3", s3,
                    "--bucket", BUCKET, "--group", GROUP,
                    "--archives", "20", "--seed", "13",
                ],
                check=True,
                timeout=300,
                stdout=subprocess.DEVNULL,
            )
            wait_for_results(broker, 20)
            for function in ["run_components", ""]:
                cut = "BaseException.__traceback__" + ("@" + function if function else "")
                done = subprocess.run(
                    [
                        str(agent.TOOL), "whatif", service.socket_path, "--cut", cut,
                        "--watch", "Broker", "--json", "--ids", str(tmp_path / "ids"),
                    ],
                    capture_output=True,
                    text=True,
                    timeout=300,
                )
                assert done.returncode == 0, done.stderr
                outcome = json.loads(done.stdout)
                foretold = {
                    int(line.split(" ", 1)[0], 16)
                    for line in (tmp_path / "ids").read_text().splitlines()
                }
                assert outcome["freed"]["objects"] == len(foretold)
                (tmp_path / "request").write_text(function)
                os.kill(service.pid, signal.SIGUSR1)
                agent.wait_until((tmp_path / "went").exists, 60)
                went = read_ids(tmp_path / "went")
                tracked = read_ids(tmp_path / "tracked")
                (tmp_path / "went").unlink()
                # Other threads of the service make and drop objects meanwhile.
                differing = (foretold & tracked) ^ went
                assert len(differing) <= 20
                assert len(went) > 100 and outcome["broken"] > 10
            assert service.poll() is None
