"""The demo path with 40 archives: what comes out against what is known.

Every archive makes one Broker. With the collector off none goes, so what the
last snapshot counts is exact.
"""

import json
import pathlib
import shutil
import subprocess

import pytest
from support.agent import TOOL

ARCHIVES = 40
ARMS = [
    "before",
    "before-uncollected",
    "dr-py-patch-uncollected",
    "published-fixes-uncollected",
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "out"
    done = subprocess.run(
        [str(TOOL), "demo", "--archives", str(ARCHIVES), "--output", str(folder)],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    result = json.loads((folder / "demo.json").read_text())
    arms = {arm["arm"]: arm for arm in result["arms"]}
    return result, arms, done.stdout, folder


def test_four_arms_come_out_of_it(demo):
    result, arms, _, _ = demo
    assert result["schema"] == "cyclescope.demo/1"
    assert list(arms) == ARMS


def brokers(arm):
    """Rows of Broker and what inherits from it."""
    return [w for w in arm["snapshot"]["watched"] if w["type"].endswith("Broker")]


@pytest.mark.parametrize("name", ARMS[1:])
def test_every_archive_leaves_one_broker_that_no_collection_takes(demo, name):
    _, arms, _, _ = demo
    rows = brokers(arms[name])
    assert sum(row["alive"] for row in rows) == ARCHIVES
    assert sum(row["never"] for row in rows) == ARCHIVES
    assert sum(row["pinned"] + row["in_flight"] for row in rows) == 0


def test_with_the_collector_on_few_brokers_wait_and_none_for_ever(demo):
    _, arms, _, _ = demo
    rows = brokers(arms["before"])
    assert sum(row["alive"] for row in rows) < ARCHIVES
    assert sum(row["never"] for row in rows) == 0


def cycles_through(arm, function):
    return [
        cycle
        for cycle in arm["snapshot"]["cycles"]
        if "Broker" in cycle["signature"] and ":%s)" % function in cycle["signature"]
    ]


def test_the_suspected_cycle_is_there_and_the_patch_removes_it(demo):
    _, arms, _, _ = demo
    suspected = cycles_through(arms["before-uncollected"], "run_components")
    assert max(cycle["count"] for cycle in suspected) == ARCHIVES
    assert all(cycle["never"] == cycle["count"] for cycle in suspected)
    assert all("insights/core/dr.py" in {s["file"] for s in c["sites"]} for c in suspected)
    assert cycles_through(arms["dr-py-patch-uncollected"], "run_components") == []
    assert cycles_through(arms["published-fixes-uncollected"], "run_components") == []


def test_the_positive_control_is_seen_as_a_leak(demo):
    _, arms, _, _ = demo
    [service] = arms["before-uncollected"]["verdict"]["services"]
    assert service["objects"]["verdict"] == "leak"
    assert service["verdict"] == "leak"
    [service] = arms["before"]["verdict"]["services"]
    assert service["verdict"] != "leak"


def test_comparisons_name_the_functions_that_changed(demo):
    result, _, _, _ = demo
    comparisons = {c["patched_arm"]: c for c in result["comparisons"]}
    assert list(comparisons) == ARMS[2:]
    patch = comparisons["dr-py-patch-uncollected"]
    assert patch["base_arm"] == "before-uncollected"
    assert [change["function"] for change in patch["functions_changed"]] == [
        "insights.core.dr.run_components"
    ]
    removed = [entry["signature"] for entry in patch["objects"]["removed"]]
    assert any("frame(dr.py:run_components)" in signature for signature in removed)
    remaining = [entry["signature"] for entry in patch["objects"]["remaining"]]
    assert not any("frame(dr.py:run_components)" in s and "Broker" in s for s in remaining)
    assert patch["outcome"] == "not_cured"


def test_the_table_answers_the_question(demo):
    _, _, output, folder = demo
    assert "prevent collection" in output
    assert str(folder / "report.html") in output
    for name in ARMS:
        assert name in output


def test_nothing_is_left_running(demo):
    _, _, _, folder = demo
    for process in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().decode(errors="replace")
        except OSError:
            continue
        assert str(folder) not in words


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_report_opens_offline_without_a_console_error(demo, tmp_path):
    _, _, _, folder = demo
    picture = tmp_path / "report.png"
    done = subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu",
            "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr",
            "--user-data-dir=%s" % (tmp_path / "profile"),
            "--screenshot=%s" % picture, "--window-size=1200,2400",
            (folder / "report.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0
    assert "CONSOLE" not in done.stderr
    assert picture.stat().st_size > 20_000


def test_verdict_and_compare_open_the_runs_of_the_demo(demo):
    _, _, _, folder = demo
    runs = {path.parent.name: path.parent for path in folder.glob("**/run.json")}
    assert set(ARMS) <= set(runs)
    done = subprocess.run(
        [str(TOOL), "verdict", str(runs["before-uncollected"])], capture_output=True, text=True
    )
    assert done.returncode == 10, done.stderr
    done = subprocess.run(
        [
            str(TOOL), "compare", str(runs["before-uncollected"]),
            str(runs["dr-py-patch-uncollected"]), "--json",
        ],
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout)["schema"] == "cyclescope.verdict/1"
    assert done.returncode in (0, 10, 11)


def test_a_demo_without_its_environments_says_what_to_run(tmp_path):
    done = subprocess.run(
        [str(TOOL), "demo", "--venvs", str(tmp_path), "--output", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (1, 2)
    assert "make demo" in done.stderr
