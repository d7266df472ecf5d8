"""Snapshots of a service at work: harmless, and as the collector sees it."""

import json
import os
import signal

import pytest
from support.agent import oracle, request, running, wait_until

SNAPSHOTS = int(os.environ.get("CYCLESCOPE_SNAPSHOTS", "300"))
WARNS = ("-W", "ignore")  # Of forks where there are threads.


def facts(target):
    """What must not grow, while the work pauses and once clients are gone."""
    assert target.tell("pause") == "paused"
    last = []

    def unchanged():
        proc = "/proc/%d" % target.pid
        children = open("%s/task/%d/children" % (proc, target.pid)).read()
        last.append(
            (len(os.listdir(proc + "/fd")), len(os.listdir(proc + "/task")), children)
        )
        return len(last) >= 20 and all(state == last[-1] for state in last[-20:])

    wait_until(unchanged)
    status = open("/proc/%d/status" % target.pid).read()
    rss = int(status.partition("VmRSS:")[2].split()[0]) * 1024
    counts = json.loads(target.tell("status"))
    assert target.tell("go") == "going"
    return last[-1], rss, counts


def test_many_snapshots_leave_no_trace_and_disturb_nothing(python, agent_directory):
    """20,000 by CYCLESCOPE_SNAPSHOTS=20000."""
    with running("busy.py", python, agent_directory, options=WARNS) as target:
        for _ in range(30):
            report = target.snapshot("Node")
        assert 5_000 < report["heap"]["tracked"] < 50_000
        before, rss_before, counts_before = facts(target)
        answered = signals = 0
        while answered < SNAPSHOTS:
            answer = request(target.socket_path, "snapshot")
            # A collection may be under way for two seconds where all compete.
            assert "heap" in answer or "collection" in answer["error"], answer
            answered += "heap" in answer
            if answered % 50 == 0:
                os.kill(target.pid, signal.SIGUSR1)
                signals += 1
                wait_until(lambda: signals_of(target) == signals)
        after, rss_after, counts = facts(target)
    assert counts["errors"] == []
    assert counts["SIGCHLD"] == counts["children"] > counts_before["children"]
    assert after == before and after[2] == ""
    assert rss_after < rss_before + (8 << 20)
    for work in ("allocate", "raise_exceptions", "import_again", "have_children"):
        assert counts[work] > counts_before[work]


def signals_of(target):
    return json.loads(target.tell("status")).get("SIGUSR1", 0)


def test_floating_is_what_the_collector_finds_in_a_service_at_work(
    python, agent_directory
):
    found = 0
    with running(
        "busy.py", python, agent_directory, options=WARNS, CYCLESCOPE_ALLOW="oracle"
    ) as target:
        for _ in range(25):
            result = wait_until(lambda: oracle(target.socket_path))
            report, floating, garbage = result
            differing = {floating.get(address) for address in set(floating) ^ garbage}
            assert set(floating) == garbage, differing
            assert report["heap"]["floating_objects"] == len(garbage)
            found += len(garbage)
        assert json.loads(target.tell("status"))["errors"] == []
    assert found > 1000


@pytest.mark.parametrize("name", ["collect", "trim", "oracle"])
def test_what_changes_the_process_is_refused_unless_allowed(
    python, agent_directory, name
):
    with running("three_cycles.py", python, agent_directory) as target:
        answer = target.request(name)
    assert "CYCLESCOPE_ALLOW=" + name in answer["error"]


def test_collect_and_trim_where_they_are_allowed(python, agent_directory):
    with running(
        "known_cycles.py",
        python,
        agent_directory,
        (0, 40, 0),
        CYCLESCOPE_ALLOW="collect,trim",
    ) as target:
        assert target.snapshot("Broker")["watched"][0]["floating"] == 40
        collected = target.request("collect")["collect"]
        assert collected["found"] > 40 and collected["took_us"] > 0
        assert target.snapshot("Broker")["watched"][0]["alive"] == 0
        assert target.request("trim")["trim"]["rss"] > 1 << 20
        settings = target.request("settings")["settings"]
        assert settings["allow"] == ["collect", "trim"]
