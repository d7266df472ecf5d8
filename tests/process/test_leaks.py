"""The gallery of leaks: two snapshots name type, state and holder of each."""

import dataclasses
import json
import re
import subprocess

import pytest
from support.agent import ROOT, TOOL, running

LEAKS = ROOT / "fixtures" / "leaks"
UNITS = 200


@dataclasses.dataclass(frozen=True)
class Leak:
    program: str
    type: str
    state: str
    holder: str  # A path, or a cycle's signature.


def gallery():
    """The rows of the table in its README."""
    for line in (LEAKS / "README.md").read_text().splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            program, _, kind, state, holder = cells
            yield Leak(program, kind, state.replace(" ", "_"), holder)


def diff(directory, *reports):
    """What the tool says of the last two reports, as JSON."""
    paths = []
    for number, report in enumerate(reports[-2:]):
        paths.append(directory / ("%d.json" % number))
        paths[-1].write_text(json.dumps(report))
    done = subprocess.run(
        [str(TOOL), "diff", "--json", *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def leaking(program, python, agent_directory, *lines):
    """Reports before and after each of the lines."""
    with running(LEAKS / (program + ".py"), python, agent_directory) as target:
        target.tell("5")  # Whatever is made once, by the first unit, is there.
        reports = [target.snapshot()]
        for line in lines:
            target.tell(str(line))
            reports.append(target.snapshot())
    return reports


def matches(expected, text):
    pattern = re.escape(expected)
    for placeholder, stands_for in {"n": r"\d+", "path": r"\S*/", "type": r"[\w.]+"}.items():
        pattern = pattern.replace("<%s>" % placeholder, stands_for)
    return re.fullmatch(pattern, text or "") is not None


def test_the_table_lists_every_program():
    programs = {path.stem for path in LEAKS.glob("*.py")} - {"service"}
    assert {leak.program for leak in gallery()} == programs
    assert len(programs) >= 20


@pytest.mark.parametrize(
    "leak", [leak for leak in gallery() if "." in leak.type], ids=lambda leak: leak.program
)
def test_type_state_and_holder_are_named(python, agent_directory, tmp_path, leak):
    growth = diff(tmp_path, *leaking(leak.program, python, agent_directory, UNITS))
    if leak.program == "atexit_callbacks" and python.version >= (3, 14):
        # Lists and tuples of Python keep them since.
        leak = dataclasses.replace(
            leak, holder=leak.holder.replace("atexit → ", "atexit → list[…] → tuple[…] → ")
        )
    module = leak.type.split(".")[0]
    entry = next(e for e in growth["grew"] if e["type"].split(".")[0] == module)
    named = entry["held_by"] if entry["held_by"] else entry["cycle"]
    assert (entry["type"], entry["state"]) == (leak.type, leak.state)
    assert matches(leak.holder, named), named
    assert entry["count"] == UNITS
    assert entry[leak.state] == UNITS
    if entry["held_by"]:
        assert entry["held_by_count"] == UNITS


def test_native_memory_grows_while_the_heap_does_not(python, agent_directory, tmp_path):
    # Enough that what the process itself takes meanwhile is little beside it.
    units = 20 * UNITS
    growth = diff(tmp_path, *leaking("native_malloc", python, agent_directory, units))
    leaked = units * 20_000
    assert growth["heap"]["bytes"]["growth"] < leaked / 100
    for part in ("malloc_used", "rss"):
        assert growth["memory"][part]["growth"] == pytest.approx(leaked, rel=0.1), part


def test_a_collector_that_is_off_is_told(python, agent_directory, tmp_path):
    growth = diff(tmp_path, *leaking("gc_off", python, agent_directory, UNITS))
    assert growth["gc"]["enabled"] == {"before": False, "after": False}
    [cycle] = [c for c in growth["cycles"] if "Node" in c["signature"]]
    assert (cycle["count"], cycle["never"]) == (UNITS, UNITS)


def test_frozen_garbage_is_told(python, agent_directory, tmp_path):
    growth = diff(tmp_path, *leaking("gc_freeze", python, agent_directory, UNITS))
    assert growth["gc"]["enabled"]["after"] is True
    assert growth["heap"]["frozen_garbage"]["growth"] == 2 * UNITS
    assert growth["gc"]["frozen"]["growth"] >= 2 * UNITS


def test_what_floats_is_gone_after_a_collection(python, agent_directory, tmp_path):
    reports = leaking("exception_cycle", python, agent_directory, UNITS, "collect")
    after = diff(tmp_path, *reports)
    assert not [e for e in after["grew"] if e["type"].startswith("__main__.")]
    [entry] = [e for e in after["shrank"] if e["type"] == "__main__.Broker"]
    assert (entry["count"], entry["state"]) == (-UNITS - 5, "floating")
    assert after["gc"]["generations"][2]["collected"] >= UNITS


def test_modules_under_new_names_are_shown_by_sys_modules(
    python, agent_directory, tmp_path
):
    growth = diff(tmp_path, *leaking("dynamic_modules", python, agent_directory, UNITS))
    [entry] = [e for e in growth["grew"] if e["type"] == "builtins.module"]
    assert (entry["count"], entry["held_by"]) == (UNITS, "sys.modules → module")
