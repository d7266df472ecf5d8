"""What a cut would free, against what it frees."""

import json
import random

import pytest
from support import pythons
from support.agent import ask, running, tool

CUTS = [
    *("Plain.edge%d" % i for i in range(4)),
    "Slotted.first",
    "Slotted.second",
    "BaseException.__traceback__",
]


def options(cuts):
    return [word for cut in cuts for word in ("--cut", cut)]


@pytest.fixture
def any_python():
    return pythons.supported()[0]


@pytest.fixture
def known(any_python, agent_directory, tmp_path):
    """The heap of 3 pinned, 5 floating and 2 running Brokers of 3 exceptions."""
    path = tmp_path / "known.heap"
    with running("known_cycles.py", any_python, agent_directory, (3, 5, 2)) as target:
        ask("snapshot", target.pid, "--watch", "Broker", "--heap", path)
    return path


def outcome_of(source, cuts, ids):
    """The cuts that name any reference, what comes of them, {address: type}."""
    cuts = list(cuts)
    while cuts:
        done = tool("whatif", source, *options(cuts), "--json", "--ids", ids)
        if done.returncode == 0:
            lines = [line.split(" ", 1) for line in ids.read_text().splitlines()]
            freed = {int(address, 16): rest for address, rest in lines}
            return cuts, json.loads(done.stdout), freed
        [missing] = [cut for cut in cuts if "--cut %s: " % cut in done.stderr]
        cuts.remove(missing)
    return [], None, {}


def read_ids(path):
    return {int(line) for line in path.read_text().split()}


def test_a_cut_frees_what_was_foretold_on_200_random_graphs(python, agent_directory, tmp_path):
    found, tried, together = 0, 0, 8
    with running("random_graphs.py", python, agent_directory) as target:
        for first_seed in range(2000, 2240, together):
            for seed in range(first_seed, first_seed + together):
                target.tell("make %d plain" % seed)
            state = random.Random(first_seed)
            cuts, outcome, freed = outcome_of(
                target.pid,
                state.sample(CUTS, state.randrange(1, len(CUTS))),
                tmp_path / "freed",
            )
            if cuts:
                assert outcome["freed"]["objects"] == len(freed)
                target.tell("objects %s" % (tmp_path / "tracked"))
                target.tell("cut %s %s" % (tmp_path / "went", " ".join(cuts)))
                tracked = read_ids(tmp_path / "tracked")
                went = read_ids(tmp_path / "went")
                assert set(freed) & tracked == went, (first_seed, cuts)
                found += len(went)
                tried += together
            target.tell("collect %s" % (tmp_path / "garbage"))
    assert tried >= 200 and found > 1000


def test_cycles_of_a_heap_file_are_those_of_its_report(python, agent_directory, tmp_path):
    """Signatures, counts and bytes, found by the host and by the inspector."""
    path = tmp_path / "heap"
    with running("random_graphs.py", python, agent_directory) as target:
        for seed in range(3000, 3020):
            target.tell("make %d plain" % seed)
        report = ask("snapshot", target.pid, "--watch", "Plain", "--heap", path)
    cycles = {cycle["signature"]: cycle for cycle in report["cycles"]}
    outcome = ask("whatif", path, "--cut", "Plain.edge0")
    rows = {row["signature"]: row for row in outcome["signatures"]}
    assert {s: (row["id"], row["count"]) for s, row in rows.items()} == {
        s: (cycle["id"], cycle["count"]) for s, cycle in cycles.items()
    }
    assert len(rows) > 20
    assert sum(row["broken"] for row in rows.values()) == outcome["broken"] > 5
    assert all(row["broken"] + row["surviving"] == row["count"] for row in rows.values())
    assert all(cycle["retained"] >= cycle["bytes"] for cycle in cycles.values())


def test_a_cut_breaks_the_cycles_of_one_function(known):
    outcome = ask("whatif", known, "--cut", "BaseException.__traceback__@run_components")
    [row] = [row for row in outcome["signatures"] if "Broker" in row["signature"]]
    assert (row["count"], row["broken"], row["surviving"]) == (10, 10, 0)
    assert outcome["references"] == 30
    [broker] = outcome["watched"]
    # Those of the floating ones go at once; the list and the threads hold theirs.
    assert (broker["alive"], broker["on_cycles"], broker["on_cycles_after"]) == (10, 10, 0)
    assert broker["freed"] == 5
    freed = {entry["type"]: entry["count"] for entry in outcome["freed"]["types"]}
    assert freed["builtins.traceback"] == 2 * 30  # Of run_components and of load.
    assert freed["__main__.ContentException"] == 3 * 5


def test_cuts_know_bases_attributes_and_functions(known):
    references = {}
    for cut in [
        "ContentException.__traceback__",
        "Exception.__traceback__",
        "Broker.exceptions",
        "__main__.Broker.exceptions",
        "Broker.exceptions@run_components",
        "frame.local broker@run_components",
        "traceback.tb_frame@load",
    ]:
        references[cut] = ask("whatif", known, "--cut", cut)["references"]
    assert references.pop("traceback.tb_frame@load") == 30
    assert references.pop("ContentException.__traceback__") == 30
    assert references.pop("Exception.__traceback__") == 30
    assert set(references.values()) == {10}
    both = ask("whatif", known, *options(["Broker.exceptions", "Broker.instances"]))
    assert [cut["references"] for cut in both["cuts"]] == [10, 10]
    assert both["references"] == 20


def test_cuts_know_the_functions_of_generators_and_coroutines(
    python, agent_directory, tmp_path
):
    path = tmp_path / "heap"
    with running("function_cycles.py", python, agent_directory) as target:
        report = ask("snapshot", target.pid, "--watch", "Held", "--heap", path)
    cycles = {cycle["signature"]: cycle["count"] for cycle in report["cycles"]}
    of_function = {}
    for cut, function, count in [
        ("generator.local held@first", "first", 6),
        ("Held.waiting@first", "first", 6),
        ("generator.local held@second", "second", 5),
        ("list[0]@second", "second", 5),
        ("Held.box@second", "second", 5),  # On the way: no end of it is of second.
        ("coroutine.local held@waits", "waits", 4),
        ("Held.waiting@waits", "waits", 4),
        ("async_generator.local held@streams", "streams", 7),
    ]:
        outcome = ask("whatif", path, "--cut", cut)
        assert outcome["references"] == outcome["broken"] == count, cut
        rows = {row["signature"]: row for row in outcome["signatures"]}
        assert {s: row["count"] for s, row in rows.items()} == cycles
        [broken] = [s for s, row in rows.items() if row["broken"]]
        assert ":%s)" % function in broken, cut
        freed = {row["type"]: row["count"] for row in outcome["freed"]["types"]}
        assert freed["__main__.Held"] == count
        of_function[function] = broken
    assert len(set(of_function.values())) == 4
    for cut in ("Held.waiting@second", "generator.local held@waits"):
        done = tool("whatif", path, "--cut", cut)
        assert done.returncode == 1 and "leave out @" in done.stderr
    ranked = {row["cut"]: row["broken"] for row in ask("whatif", path)["ranking"]}
    assert ranked["Held.waiting"] == 6 + 4 + 7


def test_no_cut_breaks_more_than_the_first_ranked(python, agent_directory, tmp_path):
    path = tmp_path / "heap"
    broken = 0
    with running("random_graphs.py", python, agent_directory) as target:
        for first_seed in range(4000, 4030, 10):
            for seed in range(first_seed, first_seed + 10):
                target.tell("make %d plain" % seed)
            ask("snapshot", target.pid, "--watch", "Plain", "--heap", path)
            best = ask("whatif", path)["ranking"][0]
            for cut in CUTS:
                outcome = ask("whatif", path, "--cut", cut)
                assert outcome["broken"] <= best["broken"], (first_seed, cut)
                broken += outcome["broken"]
            target.tell("collect %s" % (tmp_path / "garbage"))
    assert broken > 20


def test_without_a_cut_the_best_are_ranked(known):
    ranking = ask("whatif", known)["ranking"]
    assert 3 <= len(ranking) <= 5
    order = [(row["broken"], row["freed_bytes"]) for row in ranking]
    assert order == sorted(order, reverse=True)
    cuts = [row["cut"] for row in ranking]
    assert "Broker.exceptions" in cuts
    assert "ContentException.__traceback__@run_components" in cuts
    for row in ranking:  # What is ranked can be asked for.
        outcome = ask("whatif", known, "--cut", row["cut"])
        for key in ("broken", "surviving", "references"):
            assert outcome[key] == row[key]
        assert outcome["freed"]["objects"] == row["freed_objects"]


@pytest.mark.parametrize(
    "cut, code, said",
    [
        ("nonsense", 2, "write it like"),
        ("Broker.x@", 2, "write it like"),
        ("Nobody.x", 1, "no object of Nobody"),
        ("Broker.x", 1, "theirs are called"),
        ("BaseException.__traceback__@nowhere", 1, "leave out @nowhere"),
        # Their tracebacks lead there, but begin in run_components.
        ("BaseException.__traceback__@load", 1, "leave out @load"),
    ],
)
def test_a_cut_of_nothing_is_an_error(known, cut, code, said):
    done = tool("whatif", known, "--cut", cut)
    assert done.returncode == code and said in done.stderr
    assert done.stderr.count("\n") == 1


def test_tables_for_people(known):
    text = tool("whatif", known, "--cut", "BaseException.__traceback__").stdout
    assert "without BaseException.__traceback__ (30 references)" in text
    assert "frame(known_cycles.py:run_components)" in text
    assert "Broker.exceptions" in tool("whatif", known).stdout
