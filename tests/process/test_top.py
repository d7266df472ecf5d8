"""The verbs that say what is large and what holds it."""

import pytest
from support.agent import ask, running, tool


HOLDERS = """
class Session:
    def __init__(self, size): self.data = [bytes(size), float(size)]
class Registry: pass
registry = Registry()
registry.sessions = {i: Session(10_000 + i) for i in range(100)}
lone = [Session(500_000)]
class Node: pass
import gc; gc.disable()
for i in range(10):
    node = Node(); node.other = Node(); node.other.back = node; node.data = bytes(1000)
del node
"""


@pytest.fixture
def holders(python, agent_directory, tmp_path):
    """A registry of 100 sessions, a lone one, ten floating pairs."""
    path = tmp_path / "heap"
    with running("executes_lines.py", python, agent_directory, (HOLDERS,)) as target:
        report = ask("snapshot", target.pid, "--watch", "Session", "--heap", path)
    return path, report


def test_top_shows_what_retains_most(holders):
    path, report = holders
    top = ask("top", path, "--top", "50")
    largest = {entry["held_by"]: entry for entry in top["largest"]}
    registry = next(e for e in top["largest"] if e["label"] == "Registry")
    assert 1_010_000 < registry["retained"] < 1_050_000
    assert registry["held_by"].endswith("registry → Registry")
    assert registry["goes_with"][0]["type"] == "builtins.bytes"
    assert registry["goes_with"][0]["count"] == 100
    assert any(path.endswith(".lone → list[0] → Session") for path in largest)
    sizes = [entry["retained"] for entry in top["largest"]]
    assert sizes == sorted(sizes, reverse=True)
    assert top["live_bytes"] + top["floating_bytes"] == report["heap"]["bytes"]
    assert 10_000 < top["floating_bytes"] < 30_000
    types = {entry["type"].rsplit(".", 1)[-1]: entry for entry in report["heap"]["types"]}
    assert 1_510_000 < types["Session"]["retained"] < 1_560_000
    assert 10_000 < types["Node"]["retained"] <= top["floating_bytes"]
    fields = [limit["field"] for limit in report["limits"]]
    assert "heap.types.retained" not in fields and "cycles.retained" not in fields
    assert all(entry["retained"] >= entry["bytes"] for entry in report["heap"]["types"])
    text = tool("top", path).stdout
    assert "Registry" in text and "100 builtins.bytes" in text


FROZEN = """
import gc; gc.disable()
class Node: pass
for i in range(64):
    node = Node(); node.other = Node(); node.other.back = node
del node
gc.freeze()
"""


def test_frozen_garbage_is_told_alike_everywhere(python, agent_directory, tmp_path):
    path = tmp_path / "heap"
    with running("executes_lines.py", python, agent_directory, (FROZEN,)) as target:
        report = ask("snapshot", target.pid, "--heap", path)
        text = tool("snapshot", target.pid).stdout
        target.tell("gc.unfreeze()")
        thawed = ask("snapshot", target.pid)
    heap = report["heap"]
    garbage, size = heap["frozen_garbage"], heap["frozen_garbage_bytes"]
    node = next(t for t in heap["types"] if t["type"] == "__main__.Node")
    assert node["floating"] == node["never"] == 128
    assert garbage >= 128 and size >= node["bytes"]
    # In no figure of what floats, in rows and sums alike.
    assert garbage == sum(entry["floating"] for entry in heap["types"])
    assert heap["floating_objects"] == heap["floating_bytes"] == 0
    assert report["memory"]["floating"] == 0
    assert report["memory"]["frozen_garbage"] == size
    sentence = "%s frozen objects with " % garbage
    [line] = [line for line in text.splitlines() if line.startswith(sentence)]
    assert line.endswith("are garbage that no collection takes")
    [line] = [line for line in text.splitlines() if line.startswith("live Python")]
    assert "of it frozen garbage" in line
    top = ask("top", path)
    assert top["floating_bytes"] == 0
    assert (top["frozen_garbage"], top["frozen_garbage_bytes"]) == (garbage, size)
    assert top["live_bytes"] + size == heap["bytes"]
    first, second, *_ = tool("top", path).stdout.splitlines()
    assert first.endswith("floating 0 B") and second.startswith(sentence)
    # Thawed it is floating garbage like any other.
    assert thawed["heap"]["frozen_garbage"] == thawed["memory"]["frozen_garbage"] == 0
    assert thawed["memory"]["floating"] >= node["bytes"]


def test_path_tells_who_holds_a_type_and_an_object(holders):
    path, _ = holders
    paths = ask("path", path, "Session")
    assert paths["objects"] == 101
    many, one = paths["paths"]
    assert many["count"] == 100 and one["count"] == 1
    assert many["path"].endswith("registry → Registry.sessions → dict[int key] → Session")
    assert one["path"].endswith(".lone → list[…] → Session")
    example = one["example"]
    [exact] = ask("path", path, example["address"])["paths"]
    assert exact["example"]["path"].endswith(".lone → list[0] → Session")
    assert exact["example"]["steps"][-1]["edge"] == "[0]"
    assert exact["example"]["steps"][-1]["address"] == example["address"]
    [decimal] = ask("path", path, int(example["address"], 16))["paths"]
    assert decimal == exact
    garbage = ask("path", path, "Node")
    assert garbage["objects"] == 20
    assert all(entry["path"].startswith("garbage → Node") for entry in garbage["paths"])
    assert "Session" in tool("path", path, "Session").stdout
    assert "[0]" in tool("path", path, example["address"]).stdout


def test_paths_of_a_heap_file_are_those_of_its_report(python, agent_directory, tmp_path):
    path = tmp_path / "known.heap"
    with running("known_cycles.py", python, agent_directory, (3, 0, 2)) as target:
        report = ask("snapshot", target.pid, "--watch", "Broker", "--heap", path)
    paths = {entry["example"]["path"] for entry in ask("path", path, "Broker")["paths"]}
    [watched] = report["watched"]
    assert set(watched["example"]["path"]) <= paths
    assert {p for p in paths if p.startswith("thread ")}


def test_every_item_of_a_long_list_has_its_place(python, agent_directory, tmp_path):
    path = tmp_path / "long"
    code = "class Item: pass\nitems = [Item() for _ in range(1000)]\nrow = tuple(items)"
    with running("executes_lines.py", python, agent_directory, (code,)) as target:
        ask("snapshot", target.pid, "--heap", path)
    [paths] = ask("path", path, "Item")["paths"]
    assert paths["count"] == 1000 and paths["path"].endswith(" → list[…] → Item")


@pytest.mark.parametrize("wanted, said", [("Nobody", "no object"), ("0x17", "address")])
def test_what_is_not_there_is_an_error(any_python, agent_directory, wanted, said):
    with running("three_cycles.py", any_python, agent_directory) as target:
        done = tool("path", target.pid, wanted)
    assert done.returncode == 1 and said in done.stderr


def test_snapshot_shows_one_list_alone(any_python, agent_directory):
    with running("known_cycles.py", any_python, agent_directory, (3, 5, 2)) as target:
        shown = {
            name: tool("snapshot", target.pid, "--top", name, "--top", "3", "--watch", "Broker")
            for name in ("retained", "types", "cycles", "holders")
        }
        wrong = tool("snapshot", target.pid, "--top", "most")
        plain = ask("snapshot", target.pid)
    assert all(done.returncode == 0 for done in shown.values())
    assert "with it go" in shown["retained"].stdout
    assert "retained" in shown["types"].stdout and "builtins." in shown["types"].stdout
    assert "frame(known_cycles.py:run_components)" in shown["cycles"].stdout
    assert "held by " in shown["holders"].stdout
    assert "frame(known_cycles.py" not in shown["types"].stdout
    assert wrong.returncode == 2 and "--top most" in wrong.stderr
    assert all(entry["retained"] is None for entry in plain["heap"]["types"])
    assert "heap.types.retained" in [limit["field"] for limit in plain["limits"]]


def test_a_file_that_is_none_is_an_error(tmp_path):
    (tmp_path / "text").write_text("no heap" * 10)
    for verb in (["top"], ["path"], ["whatif"]):
        more = ["Type"] if verb == ["path"] else []
        done = tool(*verb, tmp_path / "text", *more)
        assert done.returncode == 1 and "no heap file" in done.stderr
        done = tool(*verb, tmp_path / "missing", *more)
        assert done.returncode == 1 and "missing" in done.stderr


def test_names_do_not_steer_the_terminal(any_python, agent_directory):
    code = r"""
Evil = type("Evil\n\x1b[31mred\x7f\x85", (), {})
things = [Evil() for _ in range(100)]
for thing in things: thing.me = thing
"""
    with running("executes_lines.py", any_python, agent_directory, (code,)) as target:
        for lists in ([], ["--top", "holders"], ["--top", "cycles"]):
            shown = tool("snapshot", target.pid, "--top", "all", *lists).stdout
            assert r"Evil\x0a\x1b[31mred\x7f\x85" in shown
            assert not [c for c in shown if c < " " and c != "\n" or "\x7f" <= c < "\xa0"]
