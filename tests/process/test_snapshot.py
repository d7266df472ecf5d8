"""What a snapshot says of live processes, against what is known of them."""

import collections
import json

import pytest
from support.agent import PROGRAMS, ask, running, wait_until

SIGNATURE = (
    "Broker → dict → ContentException → traceback → "
    "frame(known_cycles.py:run_components) → Broker"
)


@pytest.mark.parametrize("pinned, floating, in_flight", [(3, 5, 2), (0, 40, 0), (7, 0, 1)])
def test_known_cycles_are_counted_by_state(
    python, agent_directory, pinned, floating, in_flight
):
    arguments = (pinned, floating, in_flight)
    with running("known_cycles.py", python, agent_directory, arguments) as target:
        report = target.snapshot("Broker")
    [watched] = report["watched"]
    everything = pinned + floating + in_flight
    expected = {
        "pinned": pinned,
        "floating": floating,
        "in_flight": in_flight,
        "never": floating,  # The collector is off.
    }
    assert watched["alive"] == everything
    assert {name: watched[name] for name in expected} == expected
    [cycle] = [c for c in report["cycles"] if c["signature"] == SIGNATURE]
    assert cycle["count"] == everything
    assert {name: cycle[name] for name in expected} == expected
    assert cycle["closures"] == everything  # One frame holds each Broker.
    raised = [site for site in cycle["sites"] if site["role"] == "raised"]
    assert [(site["function"], site["count"]) for site in raised] == [("load", everything)]
    assert [step["edge"] for step in cycle["example"]] == [
        ".exceptions",
        "[int key]",
        ".__traceback__",
        ".tb_frame",
        "local broker",
    ]


def test_in_flight_objects_name_thread_function_and_line(python, agent_directory):
    with running("known_cycles.py", python, agent_directory, (0, 0, 1)) as target:
        report = target.snapshot("Broker")
    [watched] = report["watched"]
    [path] = watched["example"]["path"]
    assert watched["example"]["state"] == "in_flight"
    assert "work (" in path and "known_cycles.py:" in path and "thread " in path


def test_an_object_on_three_cycles_shows_all_three(python, agent_directory):
    with running("three_cycles.py", python, agent_directory) as target:
        report = target.snapshot("__main__.Hub")
    cycles = {
        c["signature"]: c["count"]
        for c in report["cycles"]
        if c["signature"].startswith("Hub")
    }
    assert cycles == {
        "Hub → Hub": 1,
        "Hub → Node → Hub": 1,
        "Hub → Node → Node → Hub": 1,
    }


def test_cycles_through_generators_and_coroutines_name_function_and_line(
    python, agent_directory
):
    with running("function_cycles.py", python, agent_directory) as target:
        report = target.snapshot("Held")
        told = [one for one in json.loads(target.tell("describe")) if one[2]]
    lines = collections.Counter(map(tuple, told))
    alive = collections.Counter((kind, function) for kind, function, _ in told)
    assert set(alive.values()) == {6, 5, 4, 7} and len(lines) == 6
    cycles = {
        c["signature"]: c for c in report["cycles"] if c["signature"].startswith("Held")
    }
    assert len(cycles) == len(alive)
    for (kind, function), count in alive.items():
        label = "%s(function_cycles.py:%s)" % (kind, function)
        box = "list → " if function == "second" else ""
        cycle = cycles["Held → %s%s → Held" % (box, label)]
        assert (cycle["count"], cycle["floating"]) == (count, count)
        assert {
            (kind, site["function"], site["line"]): site["count"] for site in cycle["sites"]
        } == {key: n for key, n in lines.items() if key[:2] == (kind, function)}
        assert {site["role"] for site in cycle["sites"]} == {"frame"}
        assert cycle["sites"][0]["file"].endswith("function_cycles.py")


def test_cycles_of_closures_are_told_apart_by_where_they_are_defined(
    python, agent_directory
):
    text = (PROGRAMS / "function_cycles.py").read_text().splitlines()
    with running("function_cycles.py", python, agent_directory) as target:
        [cycle] = [
            c
            for c in target.snapshot()["cycles"]
            if c["signature"] == "cell → function → tuple → cell"
        ]
    sites = {
        (site["function"], site["line"], site["role"]): site["count"]
        for site in cycle["sites"]
        if site["file"].endswith("function_cycles.py")
    }
    assert sites == {
        ("count.<locals>.again", 1 + text.index("    def again():"), "defined"): 8,
        ("walk.<locals>.onward", 1 + text.index("    def onward():"), "defined"): 9,
    }


def test_what_coroutines_hold_is_counted_by_their_function(
    python, agent_directory, tmp_path
):
    """In one set of tasks: no holder of one function is told for those of another."""
    code = """
import asyncio, threading
class Job: pass
started = threading.Semaphore(0)
async def follow(job): await asyncio.sleep(1000)
async def lead(job): await asyncio.sleep(1000)
async def main():
    tasks.update(asyncio.create_task(follow(Job())) for _ in range(20))
    tasks.update(asyncio.create_task(lead(Job())) for _ in range(30))
    asyncio.get_running_loop().call_later(0.01, started.release)
    await asyncio.sleep(1000)
tasks = set()
threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
started.acquire()
"""
    with running("runs_code.py", python, agent_directory, (code,)) as target:
        report = ask("snapshot", target.pid, "--watch", "Job", "--heap", tmp_path / "heap")
    paths = ask("path", tmp_path / "heap", "Job")["paths"]
    places = {
        row["held_by"]: row["count"]
        for row in report["heap"]["holders"]
        if row["type"] == "__main__.Job"
    }
    start = "module __main__.tasks → set → Task → coroutine(<string>:"
    assert places == {
        start + "follow) local job → Job": 20,
        start + "lead) local job → Job": 30,
    }
    assert places == {row["path"]: row["count"] for row in paths}


def test_a_type_that_is_not_there_is_reported_as_zero(python, agent_directory):
    with running("three_cycles.py", python, agent_directory) as target:
        report = target.snapshot("no.such.Type")
    assert [(w["type"], w["alive"]) for w in report["watched"]] == [("no.such.Type", 0)]


def test_every_required_key_is_there_and_nulls_have_a_reason(python, agent_directory):
    with running("three_cycles.py", python, agent_directory) as target:
        report = target.snapshot("Hub")
    assert report["schema"] == "cyclescope.snapshot/1"
    assert set(report) == {
        "schema", "process", "code", "taken", "heap", "gc", "memory", "watched",
        "cycles", "limits",
    }
    reasons = {limit["field"] for limit in report["limits"]}
    for block in ("process", "taken", "memory"):
        for name, value in report[block].items():
            if value is None:
                assert "%s.%s" % (block, name) in reasons
    assert all(limit["reason"] for limit in report["limits"])
    assert report["taken"]["pause_us"] > 0
    assert report["heap"]["objects"] > report["heap"]["tracked"] > 1000
    assert sum(t["count"] for t in report["heap"]["types"]) == report["heap"]["objects"]
    assert sum(t["bytes"] for t in report["heap"]["types"]) == report["heap"]["bytes"]
    generations = [sum(t["generations"][i] for t in report["heap"]["types"]) for i in range(3)]
    assert sum(generations) == report["heap"]["tracked"]
    for entry in report["heap"]["types"]:
        assert entry["pinned"] + entry["floating"] + entry["in_flight"] == entry["count"]


def read_ids(path):
    return {int(line) for line in path.read_text().split()}


def listed_by_walk(target):
    """{address: type} without frozen objects, which get_objects leaves out too.

    3.12 freezes immortal objects by itself, at their first collection.
    """
    _, ids = target.snapshot_with_ids()
    return {a: name for a, (name, state) in ids.items() if state != "frozen"}


def test_the_walked_set_is_what_get_objects_lists(python, agent_directory, tmp_path):
    with running("random_graphs.py", python, agent_directory) as target:
        target.tell("make 1 plain")
        target.tell("objects %s" % (tmp_path / "warm"))
        before = listed_by_walk(target)
        target.tell("objects %s" % (tmp_path / "listed"))
        after = listed_by_walk(target)
    listed = read_ids(tmp_path / "listed")
    assert len(listed) > 3000
    # What lived through all three is in both. What differs is what waiting for a
    # line and writing the file makes and drops: the words of the line, the view
    # of the buffer that is being read into.
    missed = [before[address] for address in (set(before) & set(after)) - listed]
    assert len(missed) <= 3
    assert set(missed) <= {"builtins.list", "builtins.tuple", "builtins.memoryview"}
    assert len(listed - set(before) - set(after)) <= 3


def test_floating_is_what_the_collector_finds_on_500_random_graphs(
    python, agent_directory, tmp_path
):
    found, together = 0, 5  # Graphs side by side: what holds for all holds for each.
    with running("random_graphs.py", python, agent_directory) as target:
        for first_seed in range(0, 500, together):
            for seed in range(first_seed, first_seed + together):
                target.tell("make %d plain" % seed)
            report, ids = target.snapshot_with_ids()
            target.tell("collect %s" % (tmp_path / "garbage"))
            floating = {a for a, (_, state) in ids.items() if state == "floating"}
            garbage = read_ids(tmp_path / "garbage")
            assert floating == garbage, "seeds from %d" % first_seed
            assert report["heap"]["floating_objects"] == len(garbage)
            found += len(garbage)
    assert found > 5000


def test_what_is_missing_from_garbage_is_reached_from_a_finalizer(
    python, agent_directory, tmp_path
):
    found = missing = 0
    with running("random_graphs.py", python, agent_directory) as target:
        for seed in range(1000, 1200, 4):
            for one in range(seed, seed + 4):
                target.tell("make %d finalizers" % one)
            _, ids = target.snapshot_with_ids()
            target.tell("reach %s" % (tmp_path / "reached"))
            target.tell("collect %s" % (tmp_path / "garbage"))
            floating = {a for a, (_, state) in ids.items() if state == "floating"}
            garbage = read_ids(tmp_path / "garbage")
            assert garbage <= floating, "seed %d" % seed
            assert floating - garbage <= read_ids(tmp_path / "reached"), "seed %d" % seed
            found += len(garbage)
            missing += len(floating - garbage)
    assert found > 2000 and missing > 0


def test_what_a_running_generator_borrows_is_counted_once(python, agent_directory):
    """Its stack refers to a local without a count of its own (3.14+)."""
    code = """
import queue, threading
class Signal(queue.SimpleQueue): pass
started = threading.Semaphore(0)
def generator(signal):
    started.release()
    signal.get()
    yield
def work():
    for _ in generator(Signal()): pass
threading.Thread(target=work, daemon=True).start()
started.acquire()
"""
    with running("runs_code.py", python, agent_directory, (code,)) as target:
        report = target.snapshot("Signal")
    [watched] = report["watched"]
    assert watched["alive"] == watched["in_flight"] == 1
    for account in ("overcounted", "unexplained"):
        assert "__main__.Signal" not in {row["type"] for row in report["heap"][account]}


def test_nearly_every_reference_is_found_and_none_too_often(python, agent_directory):
    code = """
import asyncio, contextvars, threading
started, never = threading.Semaphore(0), threading.Event()
local, variable = threading.local(), contextvars.ContextVar("variable")
class Kept: pass
async def wait(): await asyncio.sleep(1000)
async def main():
    local.kept = Kept(); variable.set(Kept())
    tasks = [asyncio.create_task(wait()) for _ in range(5)]
    asyncio.get_running_loop().call_soon(started.release)
    await asyncio.gather(*tasks)
def descend(depth):
    if depth: return descend(depth - 1)
    started.release(); never.wait()
def leave_words(kept):
    (kept, kept, kept, kept, kept)  # They stay above the stack's end.
    started.release(); lock.acquire()
def hold():
    kept = Kept()
    leave_words(kept)
def handle():
    try: raise KeyError(Kept())
    except KeyError: yield
handling = handle(); next(handling)
lock = threading.Lock(); lock.acquire()
for work in (lambda: asyncio.run(main())), (lambda: descend(200)), hold:
    threading.Thread(target=work, daemon=True).start(); started.acquire()
"""
    with running("runs_code.py", python, agent_directory, (code,)) as target:
        heap = target.snapshot()["heap"]
    # Deep-frozen constants of 3.11 refer to others without a count.
    known = {"builtins.bool"} if python.version < (3, 12) else set()
    assert {row["type"] for row in heap["overcounted"]} <= known
    assert heap["accounted_share"] >= 0.99


def test_a_stale_word_on_a_stack_names_no_holder(python, agent_directory):
    code = """
import threading
class Kept: pass
started, never, box = threading.Semaphore(0), threading.Lock(), []
never.acquire()
def keep():
    mine = Kept()
    box.append(mine)
    started.release(); never.acquire()
def pass_on():
    kept = box.pop()
    (kept, kept, kept, kept, kept)  # They stay above the stack's end.
    del kept
    started.release(); never.acquire()
for work in keep, pass_on:
    threading.Thread(target=work, daemon=True).start(); started.acquire()
"""
    with running("runs_code.py", python, agent_directory, (code,)) as target:
        report = target.snapshot("Kept")
    [watched] = report["watched"]
    assert watched["alive"] == watched["in_flight"] == 1
    [path] = watched["example"]["path"]
    assert ", keep (" in path and path.endswith(": local mine → Kept")
    [row] = [row for row in report["heap"]["types"] if row["type"] == "__main__.Kept"]
    assert row["held_by"] == path


def test_what_a_call_in_c_holds_is_in_flight(python, agent_directory):
    with running("in_c_calls.py", python, agent_directory) as target:
        # Its thread may still be on its way into the read that it waits in.
        wait_until(lambda: target.snapshot("Argument")["watched"][0]["in_flight"] == 1)
        [watched] = target.snapshot("Argument")["watched"]
    assert watched["alive"] == watched["in_flight"] == 1
