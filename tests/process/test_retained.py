"""Retained sizes against what really goes."""

import json
import subprocess

import pytest
from support.agent import TOOL, running


def ask(*arguments):
    done = subprocess.run(
        [str(TOOL), *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Structures:
    """The program that builds and drops them, and what is expected."""

    def __init__(self, target, folder):
        self.target = target
        self.heap = folder / "heap"
        self.names = [names.split(",") for names in target.tell("names").split()]

    def shares(self, names):
        """({name: predicted by freed}, the report with all of them)."""
        holders = {name: int(self.target.tell("make " + name)) for name in names}
        report = ask("snapshot", self.target.pid, "--heap", self.heap)
        retained = {
            int(entry["example"]["address"], 16): entry["example"]["retained"]
            for entry in ask("path", self.heap, "Holder")["paths"]
        }
        freed = {name: int(self.target.tell("drop " + name)) for name in names}
        assert min(freed.values()) > 100_000, freed
        return {name: retained[holders[name]] / freed[name] for name in names}, report


@pytest.fixture
def structures(python, agent_directory, tmp_path):
    # What malloc keeps for the thread would count as in use.
    with running(
        "structures.py",
        python,
        agent_directory,
        GLIBC_TUNABLES="glibc.malloc.tcache_count=0",
    ) as target:
        yield Structures(target, tmp_path)


def test_what_goes_with_a_holder_is_what_it_retains(structures):
    known, _, _ = structures.names
    shares = {}
    for first in range(0, len(known), 12):
        shares.update(structures.shares(known[first : first + 12])[0])
    missed = {name: share for name, share in shares.items() if abs(share - 1) > 0.02}
    assert missed == {}
    assert len(shares) >= 20


def test_types_with_buffers_that_only_c_code_knows_are_named(structures):
    owners = dict(entry.split("=") for entry in structures.names[1])
    shares, report = structures.shares(list(owners))
    types = {entry["type"]: entry for entry in report["heap"]["types"]}
    for name, owner in owners.items():
        assert shares[name] < 1.02, name
        assert types[owner].get("buffers_unknown") is True


# A class is in the `__subclasses__` of its bases, by a number and a weak
# reference (112 bytes), what a thread-local holds in a dict of the thread.
def test_what_goes_from_tables_that_live_on_is_not_foretold(structures):
    shares, _ = structures.shares(structures.names[2])
    for name, share in shares.items():
        assert (0.7 if name == "threads_locals" else 0.93) < share < 1.02, name
