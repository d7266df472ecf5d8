"""Foreign code that crashes in the child is named, and left alone afterwards."""

import pathlib
import subprocess

import pytest
from support.agent import ROOT, running

PROGRAM = "executes_lines.py"
HEADERS = pathlib.Path("/usr/include/python3.11")


@pytest.fixture(scope="session")
def extension(tmp_path_factory):
    """One file for all versions, as the inspector is."""
    if not (HEADERS / "Python.h").exists():
        pytest.skip("the headers of Python 3.11 are not installed")
    folder = tmp_path_factory.mktemp("extension")
    subprocess.run(
        [
            "cc", "-shared", "-fPIC", "-O1", "-I%s" % HEADERS,
            str(ROOT / "fixtures" / "extensions" / "crashes_in_child.c"),
            "-o", str(folder / "crashes_in_child.abi3.so"),
        ],
        check=True,
    )  # fmt: skip
    return folder


def reasons(report):
    return [
        limit["reason"]
        for limit in report["limits"]
        if limit["field"] == "heap.types" and "tp_traverse" in limit["reason"]
    ]


def test_a_type_that_crashes_is_skipped_and_named(python, agent_directory, extension):
    code = """
import sys; sys.path.insert(0, %r)
import crashes_in_child
class Held: pass
class Derived(crashes_in_child.Holder): pass
keep = [crashes_in_child.Holder(Held()) for _ in range(5)] + [Derived(Held())]
""" % str(extension)
    with running(PROGRAM, python, agent_directory, (code,)) as target:
        first = target.snapshot("Held")
        second = target.snapshot("Held")
        target.tell("keep.clear()")
        gone = target.snapshot("Held")
    for report in (first, second):
        assert any("crashes_in_child.Holder" in reason for reason in reasons(report))
        assert any("Derived" in reason for reason in reasons(report))
        types = {t["type"]: t["count"] for t in report["heap"]["types"]}
        assert types["crashes_in_child.Holder"] == 5
        [held] = report["watched"]
        assert held["alive"] == held["pinned"] == 6
    assert gone["watched"][0]["alive"] == 0


def test_a_broken_object_of_the_interpreters_own_is_an_error(python, agent_directory):
    """Without its lists nothing would be left: no second try."""
    code = """
import ctypes
broken = ['a', 'b']
items = ctypes.c_void_p.from_address(id(broken) + 24)
good = items.value
"""
    with running(PROGRAM, python, agent_directory, (code,)) as target:
        target.tell("import gc; gc.disable(); items.value = 8")
        answer = target.request("snapshot")
        target.tell("items.value = good")
        assert "heap" in target.request("snapshot")
    assert "'builtins.list'" in answer["error"] and "unharmed" in answer["error"]


def test_a_class_may_have_the_name_of_a_type_made_in_c(python, agent_directory):
    code = """
import functools
namesake = type("functools._lru_cache_wrapper", (), {"__slots__": ("a", "b", "c")})
kept = [namesake() for _ in range(100)]
for one in kept: one.a = one.b = one.c = object()
cache = functools.lru_cache(lambda key: [key])
for key in range(5): cache(key)
"""
    with running("executes_lines.py", python, agent_directory, (code,)) as target:
        heap = target.snapshot()["heap"]
    for account in ("overcounted", "unexplained"):
        assert not [row for row in heap[account] if "lru" in row["type"]]
    links = [row for row in heap["types"] if row["type"] == "functools._lru_list_elem"]
    assert links and links[0]["count"] >= 5
