"""Tight memory limits: a snapshot refuses or leaves, and the service lives."""

import collections
import random
import resource

import pytest
from support.agent import running, started_by
from support.cgroup import memory_group

PROGRAM = "executes_lines.py"

# Objects for the walk, memory to copy, and a thread that writes all of it again
# and again: plain memory and, by their counts, objects.
SERVICE = """
import threading
keep = [[i, (i,), str(i)] for i in range(150_000)]
big = bytearray(b'x' * (24 << 20))
stop = False
def rewrite():
    while not stop:
        big[::4096] = b'y' * (len(big) // 4096)
        for item in keep: pass
threading.Thread(target=rewrite, daemon=True).start()
"""


def ask(target):
    report = target.request("snapshot")
    if "error" not in report:
        assert report["heap"]["objects"] > 450_000
        return "taken", report
    assert report["refused"] or report["aborted"], report["error"]
    guard = report["taken"]["guard"]
    for bytes_ in (guard["headroom"], guard["limit"], guard["own_estimate"]):
        assert "%.1f MiB" % (bytes_ / (1 << 20)) in report["error"]
    return ("refused" if report["refused"] else "aborted"), report


def test_nobody_dies_in_two_hundred_tries_around_the_edge(any_python, agent_directory):
    outcomes = collections.Counter()
    chance = random.Random(1)
    with memory_group() as group:
        code = group.entering + SERVICE
        with running(PROGRAM, any_python, agent_directory, (code,)) as target:
            outcome, report = ask(target)
            assert outcome == "taken"
            guard = report["taken"]["guard"]
            own, worst = report["taken"]["child_peak_bytes"], guard["worst_case"]
            usage = group.usage
            for _ in range(200):
                # From below what is refused to beyond the worst case.
                headroom = chance.uniform(0.8 * own, 1.3 * worst)
                if not group.set_limit(int((usage + headroom) / 0.9)):
                    continue
                outcome, report = ask(target)
                outcomes[outcome] += 1
                assert group.kills == 0, (outcomes, report)
            group.set_limit(8 << 30)
    assert sum(outcomes.values()) >= 190, outcomes
    assert outcomes["refused"] > 10 and outcomes["taken"] > 50, outcomes
    print(dict(outcomes))


def test_a_service_that_grows_meanwhile_is_left_alone(any_python, agent_directory):
    """The headroom was enough at the start; then the service takes it itself."""
    grow = """
def grow():
    more = []
    while not stop:
        more.clear()
        for _ in range(15):
            more.append(bytearray(b'z' * (4 << 20)))
threading.Thread(target=grow, daemon=True).start()
"""
    outcomes = collections.Counter()
    with memory_group() as group:
        code = group.entering + SERVICE + grow
        with running(PROGRAM, any_python, agent_directory, (code,)) as target:
            _, report = ask(target)
            own = report["taken"]["child_peak_bytes"]
            for _ in range(30):
                if group.set_limit(int((group.usage + (64 << 20) + own) / 0.9)):
                    outcomes[ask(target)[0]] += 1
                assert group.kills == 0
            group.set_limit(8 << 30)
    assert sum(outcomes.values()) >= 10, outcomes


def test_the_guards_figures_are_in_the_report(python, agent_directory):
    with memory_group() as group:
        code = group.entering + "keep = [[i] for i in range(50_000)]"
        with running(PROGRAM, python, agent_directory, (code,)) as target:
            group.set_limit(300 << 20)
            report = target.snapshot()
            group.set_limit(8 << 30)
    guard = report["taken"]["guard"]
    assert guard["decision"] == "free" and guard["oom_group"] is False
    assert guard["limit"] == 300 << 20 and guard["reserve"] == 30 << 20
    assert guard["limited_by"].endswith(group.path.name)
    assert guard["headroom"] >= guard["lowest_headroom"] > 200 << 20
    assert guard["own_estimate"] > report["taken"]["child_peak_bytes"] / 2
    assert report["memory"]["cgroup_limit"] == 300 << 20


def test_snapshots_one_after_the_other_leave_the_service_its_time(
    python, agent_directory
):
    with running(PROGRAM, python, agent_directory, ("keep = [[i] for i in range(200_000)]",)) as target:
        reports = [target.snapshot() for _ in range(5)]
    assert reports[0]["taken"]["guard"]["since_last_ms"] is None
    for before, after in zip(reports, reports[1:]):
        wanted = 20 * before["taken"]["pause_us"] / 1000
        # It never waits longer; the figure is in whole milliseconds.
        assert after["taken"]["guard"]["since_last_ms"] + 1 >= min(wanted, 2000)


@pytest.mark.parametrize("mebibytes", [800, 8192, 204_800])
def test_a_limit_of_address_space_is_no_obstacle(python, agent_directory, mebibytes):
    code = "keep = [[i] for i in range(100_000)]"
    enter = started_by("ulimit -v %d" % (mebibytes << 10))
    with running(PROGRAM, python, agent_directory, (code,), prefix=enter) as target:
        assert target.snapshot()["heap"]["objects"] > 100_000


def test_too_little_address_space_is_said_and_not_held_against_the_service(
    python, agent_directory
):
    """What the kernel did not give is not what the next child will need."""
    enter = started_by("ulimit -v %d" % (2 << 20))
    with running(PROGRAM, python, agent_directory, ("pass",), prefix=enter) as target:
        before = target.snapshot()["taken"]["guard"]["own_estimate"]
        used = int(open("/proc/%d/statm" % target.pid).read().split()[0]) * 4096
        hard = resource.prlimit(target.pid, resource.RLIMIT_AS)[1]
        # Enough for the memory that both share, too little for the columns.
        resource.prlimit(target.pid, resource.RLIMIT_AS, (used + (290 << 20), hard))
        answer = target.request("snapshot")
        assert "ulimit -v" in answer["error"] and not answer["refused"]
        resource.prlimit(target.pid, resource.RLIMIT_AS, (hard, hard))
        after = target.snapshot()["taken"]["guard"]["own_estimate"]
        assert after < 2 * before
