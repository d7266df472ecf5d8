"""Heaps that would overflow a stack, or show a step that is not linear."""

import json
import subprocess

import pytest
from support import pythons
from support.agent import TOOL, running

PROGRAM = "executes_lines.py"
MILLION = 1_000_000


@pytest.fixture
def newest_python():
    return pythons.supported()[-1]


def snapshot_of(code, python, directory):
    with running(PROGRAM, python, directory, (code,)) as target:
        report = target.snapshot("Node", timeout=200)
        assert target.tell("pass") == "done"
    return report


def row_of(report, name):
    [row] = [row for row in report["heap"]["types"] if row["type"] == name]
    return row


def test_a_list_nested_a_million_deep(python, agent_directory):
    code = (
        "class Node: pass\n"
        "keep = [Node()]\n"
        "for _ in range(%d): keep = [keep]\n" % MILLION
    )
    report = snapshot_of(code, python, agent_directory)
    lists = row_of(report, "builtins.list")
    assert lists["count"] > lists["pinned"] * 0.99 > MILLION * 0.99
    [node] = report["watched"]
    assert (node["alive"], node["pinned"]) == (1, 1)
    [path] = node["example"]["path"]
    assert path.startswith("… → ") or "more)" in path


def test_a_dict_of_a_million_keys(newest_python, agent_directory):
    code = (
        "class Node: pass\n"
        "keep = {str(i): Node() for i in range(%d)}\n" % MILLION
    )
    report = snapshot_of(code, newest_python, agent_directory)
    [node] = report["watched"]
    assert node["pinned"] == MILLION
    held = row_of(report, "__main__.Node")
    assert held["held_by"] == (
        "module __main__.names → dict[str key] → dict[str key] → Node"
    )
    assert held["held_by_count"] == MILLION


@pytest.mark.parametrize("pinned", [True, False])
def test_a_component_of_a_million_nodes(newest_python, agent_directory, pinned):
    code = """
import gc
gc.disable()
class Node: pass
first = last = Node()
first.next = ring = []
for _ in range(%d):
    ring.append([])
    ring = ring[0]
ring.append(first)
del ring, last
%s
""" % (MILLION, "" if pinned else "del first")
    report = snapshot_of(code, newest_python, agent_directory)
    [node] = report["watched"]
    assert node["pinned"] == pinned and node["never"] == (not pinned)
    large = [cycle for cycle in report["cycles"] if cycle["objects"] >= MILLION]
    assert large, report["limits"]
    assert all(cycle["objects"] <= MILLION + 3 for cycle in large)
    if not pinned:
        assert report["heap"]["floating_objects"] >= MILLION


def test_ten_million_small_objects(newest_python, agent_directory):
    count = 10 * MILLION
    report = snapshot_of("keep = [[] for _ in range(%d)]" % count, newest_python, agent_directory)
    lists = row_of(report, "builtins.list")
    assert count < lists["pinned"] < count + 20_000
    assert lists["bytes"] >= 56 * count
    assert report["taken"]["child_peak_bytes"] < report["memory"]["rss"]


def test_paths_of_many_objects_that_c_code_holds(newest_python, agent_directory, tmp_path):
    count = 600_000
    code = """
import ctypes
class Node: pass
hold = ctypes.pythonapi.Py_IncRef
hold.argtypes = [ctypes.py_object]
for _ in range(%d): hold(Node())
""" % count
    path = str(tmp_path / "heap")
    with running(PROGRAM, newest_python, agent_directory, (code,)) as target:
        subprocess.run([TOOL, "snapshot", str(target.pid), "--heap", path], check=True, timeout=100)
    done = subprocess.run(
        [TOOL, "path", path, "Node", "--json"], capture_output=True, check=True, timeout=100
    )
    [held] = json.loads(done.stdout)["paths"]
    assert held["path"] == "held from C: 1 reference → Node" and held["count"] == count


def test_cuts_of_a_list_on_many_cycles(newest_python, agent_directory, tmp_path):
    count = 400_000
    code = """
class Node: pass
class Child: __slots__ = ("parent",)
root = Node()
root.children = []
for _ in range(%d):
    child = Child(); child.parent = root; root.children.append(child)
""" % count
    path = str(tmp_path / "heap")
    recording = [TOOL, "snapshot", "--watch", "Node", "--heap", path]
    with running(PROGRAM, newest_python, agent_directory, (code,)) as target:
        subprocess.run([*recording, str(target.pid)], check=True, timeout=100)
    done = subprocess.run(
        [TOOL, "whatif", path, "--json"], capture_output=True, check=True, timeout=100
    )
    ranking = {row["cut"]: row for row in json.loads(done.stdout)["ranking"]}
    assert ranking["Child.parent"]["references"] == count
    assert ranking["Child.parent"]["broken"] == 1


def test_cycles_that_a_cut_makes_too_long_to_search_are_told(
    newest_python, agent_directory, tmp_path
):
    """Both cycles of each node are short, until one is cut."""
    count = 25_000
    code = """
class Node: __slots__ = ("long", "short")
class Long: __slots__ = ("back", "step")
class Short: __slots__ = ("back",)
nodes = [Node() for _ in range(%d)]
for node in nodes:
    node.long = Long(); node.long.back = node; node.long.step = nodes
    node.short = Short(); node.short.back = node
""" % count
    path = str(tmp_path / "heap")
    recording = [TOOL, "snapshot", "--watch", "Node", "--heap", path]
    with running(PROGRAM, newest_python, agent_directory, (code,)) as target:
        subprocess.run([*recording, str(target.pid)], check=True, timeout=100)

    def fields_with_limits(cut):
        command = [TOOL, "whatif", path, "--json", "--cut", cut]
        done = subprocess.run(command, capture_output=True, check=True, timeout=100)
        return {limit["field"] for limit in json.loads(done.stdout)["limits"]}

    assert "broken" in fields_with_limits("Long.back")
    assert "broken" not in fields_with_limits("Long.step")
