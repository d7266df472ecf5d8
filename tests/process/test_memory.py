"""Where the resident memory goes, against the interpreter's own books."""

import re
import subprocess

import pytest
from support.agent import ROOT, TOOL, running

PROGRAM = "executes_lines.py"
PARTS = [
    "live",
    "floating",
    "pymalloc_used_other",
    "pymalloc_free",
    "malloc_used",
    "malloc_free",
    "module_data",
    "other_mappings",
    "stacks",
    "file",
    "shared",
    "unexplained",
]

# Holes in pymalloc, big buffers, threads with their own malloc arenas, floating
# cycles, memory that C code maps and some that nobody has touched.
BUSY = """
import gc, mmap, threading
gc.disable()
class Node: pass
keep = [{i: str(i)} for i in range(120_000)]
del keep[100::3]
text = ['x' * n for n in range(1, 4000)]
big = bytearray(b'y' * 20_000_000)
for i in range(20_000):
    node = Node(); node.itself = node
private = mmap.mmap(-1, 3 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
private[:] = b'z' * (3 << 20)
untouched = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
blocks, stop, made = [], threading.Event(), threading.Semaphore(0)
def work():
    blocks.append([bytes(5000) for _ in range(500)]); made.release(); stop.wait()
threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
for thread in threads: thread.start(); made.acquire()
"""

# sys._debugmallocstats writes to descriptor 2 in C.
STATS = (
    "import os, sys; file = os.open({!r}, os.O_RDWR | os.O_CREAT); old = os.dup(2); "
    "os.dup2(file, 2); sys._debugmallocstats(); os.dup2(old, 2); os.close(old); os.close(file)"
)


def parts_of(memory):
    return {name: memory[name] for name in PARTS}


def figure(text, label):
    [number] = re.findall(r"%s\s*=\s*([\d,]+)" % re.escape(label), text)
    return int(number.replace(",", ""))


@pytest.mark.parametrize("code", ["", BUSY], ids=["small", "busy"])
def test_the_parts_sum_to_the_resident_memory(python, agent_directory, code):
    with running(PROGRAM, python, agent_directory, (code,)) as target:
        memory = target.snapshot()["memory"]
    parts = parts_of(memory)
    assert None not in parts.values()
    assert sum(parts.values()) - memory["not_resident"] == memory["rss"]
    assert abs(memory["unexplained"]) <= 0.01 * memory["rss"]
    assert all(value >= 0 for name, value in parts.items() if name != "unexplained")
    assert memory["cgroup_anon"] is None or memory["cgroup_anon"] >= 0.9 * memory["anon"]


def test_what_is_known_is_found_in_its_part(python, agent_directory):
    with running(PROGRAM, python, agent_directory, (BUSY,)) as target:
        memory = target.snapshot()["memory"]
        target.tell("private.close()")
        target.tell("big = None")
        target.tell("gc.collect() and None")
        after = target.snapshot()["memory"]
    assert memory["pymalloc_free"] > 5 << 20
    assert memory["floating"] > 20_000 * 80
    unmapped = memory["other_mappings"] - after["other_mappings"]
    assert abs(unmapped - (3 << 20)) <= 1 << 16
    assert 20_000_000 <= memory["live"] - after["live"] <= 20_500_000
    assert after["floating"] < 100_000
    assert after["rss"] <= memory["rss"] - (20 << 20)


# What a program takes in one way each, and the parts that it must show in, with
# the bytes. `take` makes 64 MiB of something.
TAKEN = 64 << 20
TAKES = {
    "mapped": (
        """
import mmap
def take():
    global area
    area = mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, 64 << 20, 4096): area[at] = 1
""",
        {"other_mappings": TAKEN},
    ),
    "mapped_and_half_touched": (
        """
import mmap
def take():
    global area
    area = mmap.mmap(-1, 128 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, 128 << 20, 8192): area[at] = 1
""",
        {"other_mappings": TAKEN},
    ),
    "malloc_leaked": (
        """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def take():
    for _ in range(8192): ctypes.memset(libc.malloc(8176), 1, 8176)
""",
        {"malloc_used": TAKEN},
    ),
    "malloc_mapped_and_half_touched": (
        """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def take(): ctypes.memset(libc.malloc(128 << 20), 1, 64 << 20)
""",
        {"malloc_used": 2 * TAKEN, "not_resident": TAKEN},
    ),
    # Reading maps the kernel's page of zeros: no memory is taken.
    "malloc_mapped_and_read": (
        """
import ctypes
libc = ctypes.CDLL(None)
libc.calloc.restype = ctypes.c_void_p
def take():
    start = libc.calloc(64 << 20, 1)
    for at in range(0, 64 << 20, 4096): ctypes.c_char.from_address(start + at).value
    mark = libc.calloc(64 << 20, 1)
    ctypes.memset(mark, 1, 64 << 20)
""",
        {"malloc_used": 2 * TAKEN, "not_resident": TAKEN},
    ),
    "mapped_and_read": (
        """
import mmap
def take():
    global area, written
    area = mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, 64 << 20, 4096): area[at]
    written = mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, 64 << 20, 4096): written[at] = 1
""",
        {"other_mappings": TAKEN},
    ),
    "malloc_freed": (
        """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
def take():
    blocks = [libc.malloc(8176) for _ in range(8193)]
    for block in blocks: ctypes.memset(block, 1, 8176)
    for block in blocks[:-1]: libc.free(block)
""",
        {"malloc_free": TAKEN},
    ),
    "heap": (
        """
def take():
    global keep
    keep = [None] * (64 << 20 >> 5)
    for i in range(len(keep)): keep[i] = i + 0.5
""",
        {"live": TAKEN * 5 // 4},
    ),
    "heap_freed": (
        """
def take():
    global keep
    keep = [i + 0.5 for i in range(64 << 20 >> 5)]
    keep[:] = keep[::10_000]
""",
        {"pymalloc_free": TAKEN},
    ),
    "threads": (
        """
import threading
made, never = threading.Semaphore(0), threading.Event()
def work():
    kept = [bytes(5000) for _ in range(209)]; made.release(); never.wait()
def take():
    for _ in range(64):
        threading.Thread(target=work, daemon=True).start(); made.acquire()
""",
        {"live": 64 * 209 * 5033},
    ),
}


@pytest.mark.parametrize("way", TAKES)
def test_what_a_program_takes_is_in_its_part(python, agent_directory, way):
    code, expected = TAKES[way]
    with running(PROGRAM, python, agent_directory, (code,)) as target:
        before = target.snapshot()["memory"]
        target.tell("take()")
        after = target.snapshot()["memory"]
    for part in set(PARTS) - {"file", "shared"} | {"not_resident"}:
        growth = after[part] - before[part]
        assert abs(growth - expected.get(part, 0)) <= 0.02 * TAKEN, part
    assert abs(after["unexplained"]) <= 256 << 10


def test_arenas_are_counted_as_the_interpreter_counts_them(
    python, agent_directory, tmp_path
):
    with running(PROGRAM, python, agent_directory, (BUSY,)) as target:
        target.tell(STATS.format(str(tmp_path / "warm")))
        before = target.snapshot()["memory"]
        target.tell(STATS.format(str(tmp_path / "stats")))
        after = target.snapshot()["memory"]
    text = (tmp_path / "stats").read_text()
    pools = before["pymalloc"]
    assert pools["arenas"] == figure(text, "# arenas allocated current")
    # Executing a line makes and drops a few objects between the two.
    drift = 16_384 + abs(
        before["pymalloc"]["used_blocks"] - after["pymalloc"]["used_blocks"]
    )
    for name, label in [
        ("used_blocks", "# bytes in allocated blocks"),
        ("free_blocks", "# bytes in available blocks"),
    ]:
        assert abs(pools[name] - figure(text, label)) <= drift, name
    assert (
        sum(
            pools[name]
            for name in ("used_blocks", "free_blocks", "free_pools", "unused", "overhead")
        )
        == pools["arena_bytes"]
    )
    assert pools["resident"] <= pools["arena_bytes"]


def test_sizes_are_those_of_the_blocks(python, agent_directory):
    """Nearly all of pymalloc's used blocks belong to an object that was walked."""
    with running(PROGRAM, python, agent_directory, (BUSY,)) as target:
        memory = target.snapshot()["memory"]
    used = memory["pymalloc"]["used_blocks"]
    assert 0 < memory["pymalloc_used_other"] < 0.05 * used


@pytest.mark.parametrize("shape", ["plain", "slots", "grown"])
def test_an_object_has_the_size_of_its_block(python, agent_directory, shape):
    """Against what pymalloc itself hands out for 10,000 more of them."""
    body = {"plain": "pass", "slots": "__slots__ = ('a', 'b', 'c')", "grown": "pass"}[shape]
    code = "class Shape: %s\nmade = [None] * 10_000\n" % body
    make = "for i in range(10_000): made[i] = s = Shape(); s.a = s.b = s.c = None"
    if shape == "grown":
        make += "; s.__dict__['d'] = []"
    with running(PROGRAM, python, agent_directory, (code,)) as target:
        target.tell(make)
        target.tell("made[:] = [None] * 10_000")
        before = target.snapshot()
        target.tell(make)
        after = target.snapshot()
    growth = after["memory"]["pymalloc"]["used_blocks"] - before["memory"]["pymalloc"]["used_blocks"]
    counted = after["memory"]["live"] - before["memory"]["live"]
    assert growth > 10_000 * 32
    assert abs(growth - counted) <= 0.01 * growth + 20_000


@pytest.mark.parametrize("allocator", ["malloc", "debug", "malloc_debug", "mimalloc"])
def test_other_allocators_are_named_and_the_sum_holds(python, agent_directory, allocator):
    if allocator == "mimalloc" and python.version < (3, 13):
        pytest.skip("CPython has mimalloc from 3.13 on")
    with running(PROGRAM, python, agent_directory, (BUSY,), PYTHONMALLOC=allocator) as target:
        report = target.snapshot()
    memory = report["memory"]
    if allocator == "debug":  # pymalloc with guard bytes around each block.
        assert memory["pymalloc"]["arenas"] > 5
    else:
        assert memory["pymalloc"] is None and memory["pymalloc_free"] is None
        [reason] = [
            limit["reason"]
            for limit in report["limits"]
            if limit["field"] == "memory.pymalloc_free"
        ]
        assert "PYTHONMALLOC" in reason
    total = sum(value or 0 for value in parts_of(memory).values())
    assert total - memory["not_resident"] == memory["rss"]
    assert abs(memory["unexplained"]) <= 0.01 * memory["rss"]
    fields = [limit["field"] for limit in report["limits"]]
    assert ("memory.live" in fields) == (allocator == "mimalloc")
    assert ("heap.bytes" in fields) == (allocator == "mimalloc")


@pytest.mark.parametrize("allocator", ["malloc", "debug", "mimalloc", "mimalloc_debug"])
def test_sizes_are_near_those_in_pymalloc_whoever_has_the_blocks(
    python, agent_directory, allocator
):
    if allocator.startswith("mimalloc") and python.version < (3, 13):
        pytest.skip("CPython has mimalloc from 3.13 on")
    reports = {}
    for name in ("pymalloc", allocator):
        with running(PROGRAM, python, agent_directory, (BUSY,), PYTHONMALLOC=name) as target:
            reports[name] = target.snapshot()
    of = {
        name: {entry["type"]: entry for entry in report["heap"]["types"]}
        for name, report in reports.items()
    }
    for kind in ("int", "str", "dict", "list", "bytes", "bytearray"):
        kind = "builtins." + kind
        each = {name: t[kind]["bytes"] / t[kind]["count"] for name, t in of.items()}
        # As asked for at least, and as glibc's chunks at most.
        assert 0.75 <= each[allocator] / each["pymalloc"] <= 1.55, (kind, each)
    for part in ("live", "floating"):
        shares = [reports[name]["memory"][part] for name in (allocator, "pymalloc")]
        assert 0.75 <= shares[0] / shares[1] <= 1.55, part


@pytest.fixture(scope="module")
def other_malloc(tmp_path_factory):
    """A library with a malloc that is not glibc's."""
    library = tmp_path_factory.mktemp("malloc") / "other_malloc.so"
    source = ROOT / "fixtures" / "extensions" / "other_malloc.c"
    command = ["cc", "-shared", "-fPIC", "-O1", "-fno-builtin", source, "-o", library]
    subprocess.run(command, check=True, timeout=60)
    return library


@pytest.mark.parametrize("allocator", ["pymalloc", "malloc"])
def test_a_malloc_before_that_of_glibc_is_named(
    python, agent_directory, other_malloc, allocator
):
    variables = {"LD_PRELOAD": other_malloc, "PYTHONMALLOC": allocator}
    with running(PROGRAM, python, agent_directory, (BUSY,), **variables) as target:
        report = target.snapshot()
        target.tell("big = None")
        after = target.snapshot()
    memory = report["memory"]
    assert memory["malloc_used"] is None
    assert (memory["pymalloc"] is None) == (allocator == "malloc")
    assert "heap.bytes" in [limit["field"] for limit in report["limits"]]
    # What was asked for; this malloc keeps what is freed, also by a snapshot.
    assert 19_900_000 <= memory["live"] - after["memory"]["live"] <= 20_100_000
    freed = after["memory"]["other_mappings"] - memory["other_mappings"]
    assert 19_900_000 <= freed <= 23_000_000
    assert abs(memory["unexplained"]) <= 0.01 * memory["rss"]


def test_types_with_unknown_buffers_are_named(python, agent_directory):
    code = "import collections, io; keep = [io.BytesIO(b'x' * 1000) for _ in range(900)]"
    with running(PROGRAM, python, agent_directory, (code,)) as target:
        report = target.snapshot()
    flags = {t["type"]: t.get("buffers_unknown", False) for t in report["heap"]["types"]}
    assert flags["_io.BytesIO"] is True
    assert flags["builtins.dict"] is flags["builtins.list"] is False
    [reason] = [
        limit["reason"] for limit in report["limits"] if limit["field"] == "heap.types.bytes"
    ]
    assert "_io.BytesIO (900)" in reason


def test_the_bridge_is_printed_with_shares_and_its_sum(python, agent_directory):
    with running(PROGRAM, python, agent_directory, (BUSY,)) as target:
        done = subprocess.run(
            [str(TOOL), "snapshot", target.socket_path],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for name in ("live Python objects", "free in pymalloc", "not explained"):
        [line] = [line for line in lines if line.startswith(name)]
        assert "%" in line
    # It is of malloc as a whole, which the line before is not.
    assert any(line.startswith("malloc's, not in RAM") for line in lines)
    [total] = [line for line in lines if line.strip().startswith("sum ")]
    assert "resident" in total and "anonymous" in total
