"""The collector's clock: when the next full collection comes, how long they take."""

import hashlib
import json
import os
import sqlite3
import subprocess
import time

import pytest
from support.agent import TOOL, running, wait_until

OLD, SURVIVORS, GARBAGE = 200_000, 300, 100


def work(target, units):
    return json.loads(target.tell("work %d" % units))


def run_folder(target, folder, snapshots):
    """A run that `record` has made, with these snapshots: (ms, units, report)."""
    subprocess.run(
        [TOOL, "record", str(target.pid), "--output", folder, "--for", "100ms"],
        check=True,
        capture_output=True,
    )
    with sqlite3.connect(folder / "run.db") as database:
        service = database.execute("SELECT name FROM service").fetchone()[0]
        database.execute("DELETE FROM snapshot")
        for number, (elapsed_ms, units, report) in enumerate(snapshots):
            text = json.dumps(report).encode()
            path = folder / "snapshots" / ("%d.json" % number)
            path.write_bytes(text)
            database.execute(
                "INSERT INTO snapshot(wall_ms, elapsed_ms, service, units, trigger, file,"
                " sha256) VALUES(0, ?, ?, ?, 'tenth', ?, ?)",
                (
                    elapsed_ms,
                    service,
                    units,
                    str(path.relative_to(folder)),
                    hashlib.sha256(text).hexdigest(),
                ),
            )
    database.close()
    return folder


def collection(folder):
    done = subprocess.run([TOOL, "verdict", folder, "--json"], capture_output=True, text=True)
    assert done.stdout, done.stderr
    [service] = json.loads(done.stdout)["services"]
    return service["collection"]


def test_the_next_full_collection_comes_when_predicted(python, agent_directory, tmp_path):
    with running(
        "constant_pace.py", python, agent_directory, [OLD, SURVIVORS, GARBAGE]
    ) as target:
        target.tell("collect")  # From here on the next one is farthest.
        before = work(target, 20)
        past = len(before["full"])
        start = time.monotonic()
        snapshots = []
        for _ in range(4):
            report = target.snapshot()
            elapsed_ms = int((time.monotonic() - start) * 1000)
            snapshots.append((elapsed_ms, before["units"], report))
            before = work(target, 50)
            assert len(before["full"]) == past, "it came before anything was predicted"
        report = target.snapshot()
        snapshots.append((int((time.monotonic() - start) * 1000), before["units"], report))
        figures = collection(run_folder(target, tmp_path / "run", snapshots))
        predicted = figures["units_to_full_collection"]
        assert predicted is not None, figures
        after = before
        while len(after["full"]) == past:
            after = work(target, 1)
        came = after["full"][-1][0] + 1 - before["units"]
        # Survivors come in bursts, with every collection of the middle generation.
        threshold0, threshold1, _ = report["gc"]["thresholds"]
        burst = (threshold0 + 1) * (threshold1 + 2) / (SURVIVORS + GARBAGE)
        assert abs(predicted - came) <= burst + 0.05 * came + 1, (predicted, came, figures)
        assert figures["seconds_to_full_collection"] > 0
        assert "next full collection in about %s units" % format(
            round(predicted), ","
        ) in figures["sentence"]


def test_what_it_still_needs_reaches_nothing_when_it_comes(python, agent_directory):
    """From snapshot to snapshot, by the figures of one alone."""
    step = 40
    with running("constant_pace.py", python, agent_directory, [30_000, 300, 100]) as target:
        done = json.loads(target.tell("collect"))
        for _ in range(2):
            came = len(done["full"])
            seen = []
            while len(done["full"]) == came:
                gc = target.snapshot()["gc"]
                seen.append(gc["full_collection"])
                done = work(target, step)
            for before, after in zip(seen, seen[1:]):
                assert after["needs_survivors"] <= before["needs_survivors"]
                assert after["needs_gen1_collections"] <= before["needs_gen1_collections"]
            # At the last look it waited for what one step makes, no more.
            burst = (gc["thresholds"][0] + 1) * (gc["thresholds"][1] + 2)
            assert len(seen) > 2
            assert seen[-1]["needs_survivors"] <= step * SURVIVORS + burst
            in_step = step * (SURVIVORS + GARBAGE) / burst
            assert seen[-1]["needs_gen1_collections"] <= in_step + 1


def past_of(target):
    return target.snapshot()["gc"]["full_collection"]


def test_nothing_is_said_of_full_collections_before_one_comes(python, agent_directory):
    with running("constant_pace.py", python, agent_directory, [100, 1, 1]) as target:
        report = target.snapshot()
        past = report["gc"]["full_collection"]
        assert (past["measured"], past["missed"]) == (0, 0)
        reasons = {limit["field"]: limit["reason"] for limit in report["limits"]}
        for field in ["last_ms", "last_within_ms", "longest_ms"]:
            assert past[field] is None
            assert "no full collection came" in reasons["gc.full_collection." + field]


def test_a_long_collection_that_the_program_asks_for_is_timed(python, agent_directory):
    with running("constant_pace.py", python, agent_directory, [1000, 1, 1]) as target:

        def timed():
            before = past_of(target)
            own_ms = json.loads(target.tell("collect 0.7"))["full"][-1][1]
            past = past_of(target)
            counted = past["measured"] + past["missed"]
            assert counted == before["measured"] + before["missed"] + 1
            return past["measured"] > before["measured"] and (own_ms, past)

        own_ms, past = wait_until(timed, 60)
        assert abs(past["last_ms"] - own_ms) <= past["last_within_ms"] + 5 + own_ms / 20
        assert past["longest_ms"] >= past["last_ms"]


def test_a_full_collection_that_comes_by_itself_is_timed(python, agent_directory):
    with running("constant_pace.py", python, agent_directory, [400_000, 300, 100]) as target:

        def timed():
            before = past_of(target)
            done = work(target, 0)
            came = len(done["full"])
            while len(done["full"]) == came:
                # A service at work, not one that makes all at once.
                done = work(target, 1)
                time.sleep(0.002)
            own_ms = done["full"][-1][1]
            time.sleep(0.1)
            past = past_of(target)
            return past["measured"] > before["measured"] and (own_ms, past)

        own_ms, past = wait_until(timed, 120)
        assert abs(past["last_ms"] - own_ms) <= past["last_within_ms"] + 5 + own_ms / 20


def test_an_off_collector_is_said_to_take_nothing(python, agent_directory, tmp_path):
    with running("constant_pace.py", python, agent_directory, [1000, 10, 10]) as target:
        target.tell("off")
        report = target.snapshot()
        full = report["gc"]["full_collection"]
        assert full["needs_survivors"] is None and full["needs_gen1_collections"] is None
        assert full["frees_bytes"] == 0
        reasons = {limit["field"]: limit["reason"] for limit in report["limits"]}
        assert "collector is off" in reasons["gc.full_collection.needs_survivors"]
        table = subprocess.run(
            [TOOL, "snapshot", str(target.pid)], capture_output=True, text=True, check=True
        ).stdout
        assert "next full collection: never by itself, the collector is off" in table
        figures = collection(
            run_folder(target, tmp_path / "run", [(0, 0, report), (1000, 10, report)])
        )
        assert figures["units_to_full_collection"] is None
        assert "next full collection: never" in figures["sentence"]


def test_looking_costs_an_idle_service_next_to_nothing(python, agent_directory):
    def ticks(pid):
        fields = open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    with running("constant_pace.py", python, agent_directory, [1000, 10, 10]) as target:
        target.snapshot()
        before = ticks(target.pid)
        time.sleep(3)
        used = (ticks(target.pid) - before) / os.sysconf("SC_CLK_TCK")
        assert used <= 0.03
