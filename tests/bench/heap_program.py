"""A service-like heap of a given number of tracked objects, and what to time.

    python heap_program.py OBJECTS

Says `ready`, then answers each line on stdin, `NAME [TIMES]`, with one JSON
object: `collect` and `clone` time what the interpreter and the kernel do, the
names of peers what those do with the same heap. Times are seconds, sizes bytes.
"""

import ctypes
import gc
import json
import os
import random
import resource
import sys
import time

# What one session and its share of requests come to, see Session; measured.
TRACKED_PER_SESSION = 18.1


class Request:
    def __init__(self, number, session):
        self.number = number
        self.path = "/archives/%d" % number
        self.headers = {"x-request-id": "%032x" % number, "accept": ["json", number]}
        self.session = session
        self.parts = (float(number), [number, self.path])
        self.hook = None


class Slotted:
    __slots__ = ("request", "weight")

    def __init__(self, request):
        self.request = request
        self.weight = request.number / 7


class Session:
    """Two requests, a closure over one of them, an error with its traceback now
    and then; every other session lies on a cycle through its requests."""

    def __init__(self, number):
        self.name = "session-%d" % number
        self.requests = [Request(2 * number, None), Request(2 * number + 1, None)]
        self.by_path = {request.path: Slotted(request) for request in self.requests}
        first = self.requests[0]
        self.requests[1].hook = lambda: first.number
        if number % 2 == 0:
            for request in self.requests:
                request.session = self
        if number % 20 == 0:
            try:
                raise ValueError(self.name)
            except ValueError as error:
                self.error = error


def build(objects):
    """Sessions by name. A third is replaced once, so that, as in a service that
    has run for a while, neighbours in memory are no neighbours in the graph."""
    count = max(1, int(objects / TRACKED_PER_SESSION))
    sessions = {}
    for number in range(count):
        sessions["s%d" % number] = Session(number)
    chance = random.Random(1)
    for number in chance.sample(range(count), count // 3):
        sessions["s%d" % number] = None
        other = "s%d" % chance.randrange(count)
        sessions[other] = Session(number)
    for name, session in sessions.items():
        if session is None:
            sessions[name] = Session(len(name))
    return sessions


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def timed(call):
    start = time.perf_counter()
    result = call()
    took = time.perf_counter() - start
    del result
    return took


def collect():
    # The first one pays for pages that a copy of the process has left shared.
    gc.collect()
    return timed(gc.collect)


def clone():
    """The bare system call, with the GIL held, as the inspector makes it."""
    syscall = ctypes.PyDLL(None).syscall
    sys_clone, wait_all = 56, 0x40000000  # x86-64; __WALL
    gc.collect()
    start = time.perf_counter()
    child = syscall(sys_clone, 0, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    took = time.perf_counter() - start
    os.waitpid(child, wait_all)
    return took


def guppy3():
    import guppy

    heapy = guppy.hpy()
    return timed(heapy.heap)


def guppy3_table():
    """What a person reads; `heap()` alone leaves counts and sizes for later."""
    import guppy

    heapy = guppy.hpy()
    return timed(lambda: str(heapy.heap()))


def refcycle():
    import refcycle

    return timed(lambda: refcycle.snapshot().strongly_connected_components())


def objgraph():
    import objgraph

    return timed(lambda: objgraph.most_common_types(limit=20))


def pympler():
    from pympler import muppy, summary

    return timed(lambda: summary.summarize(muppy.get_objects()))


def main():
    heap = build(int(sys.argv[1]))
    gc.collect()
    print("ready", flush=True)
    for line in sys.stdin:
        name, times = (line.split() + ["1"])[:2]
        before = peak()
        try:
            answer = {"seconds": [globals()[name]() for _ in range(int(times))]}
            answer["extra_bytes"] = peak() - before
        except Exception as error:  # A peer that fails is a result, too.
            answer = {"error": "%s: %s" % (type(error).__name__, error)}
        print(json.dumps(answer), flush=True)
    del heap


main()
