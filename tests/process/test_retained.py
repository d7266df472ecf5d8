"""Retained sizes against what really goes."""

import json
import subprocess

import pytest
from support import pythons
from support.agent import TOOL, running


def tool(*arguments, **options):
    options.setdefault("timeout", 120)
    return subprocess.run(
        [str(TOOL), *map(str, arguments)], capture_output=True, text=True, **options
    )


def ask(*arguments):
    done = tool(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def predicted_and_freed(target, name, path):
    """The bytes that the holder retains, what goes when it goes, the report."""
    address, before = map(int, target.tell("make " + name).split())
    report = ask("snapshot", target.pid, "--heap", path)
    [found] = ask("path", path, address)["paths"]
    after = int(target.tell("drop"))
    return found["example"]["retained"], before - after, report


def test_what_goes_with_a_holder_is_what_it_retains(python, agent_directory, tmp_path):
    missed, largest = [], 0
    with running(
        "structures.py",
        python,
        agent_directory,
        GLIBC_TUNABLES="glibc.malloc.tcache_count=0",
    ) as target:
        known, unknown = [names.split(",") for names in target.tell("names").split()]
        for name in known:
            predicted, freed, _ = predicted_and_freed(target, name, tmp_path / "heap")
            error = predicted / freed - 1
            if freed < 300_000 or abs(error) > 0.02:
                missed.append("%s: predicted %d, freed %d (%+.1f %%)" % (name, predicted, freed, 100 * error))
            largest = max(largest, abs(error))
        # Buffers that only C code knows are missing, and the report says whose.
        for name in unknown:
            predicted, freed, report = predicted_and_freed(target, name, tmp_path / "heap")
            flagged = [t["type"] for t in report["heap"]["types"] if t.get("buffers_unknown")]
            print("%s: predicted %d, freed %d" % (name, predicted, freed))
    print("largest error %.2f %%" % (100 * largest))
    assert missed == []
    assert len(known) >= 20
