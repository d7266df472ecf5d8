"""A service-like heap of a given number of tracked objects, and what to time.

    python heap_program.py OBJECTS

Says `ready`, then answers each line on stdin with one JSON object: `collect`
and `clone` time what the interpreter and the kernel do, the names of peers what
those do with the same heap. Times are seconds, sizes bytes.
"""

import collections
import ctypes
import gc
import json
import os
import resource
import sys
import time


class Request:
    def __init__(self, number, parent):
        self.number = number
        self.path = "/archives/%d" % number
        self.headers = {"x-request-id": "%032x" % number, "size": number * 3}
        self.parts = [float(number), (number, self.path)]
        self.parent = parent


class Slotted:
    __slots__ = ("request", "next")

    def __init__(self, request, following):
        self.request = request
        self.next = following


def build(objects):
    """About `objects` tracked ones: instances, dicts, lists, tuples, closures,
    a cycle in every tenth request."""
    requests, following = collections.deque(), None
    per_request = 4.5
    for number in range(int(objects / per_request)):
        request = Request(number, following)
        if number % 10 == 0:
            request.headers["self"] = request
            request.callback = lambda request=request: request
        following = Slotted(request, following if number % 50 else None)
        requests.append(following)
    return requests


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def timed(call):
    start = time.perf_counter()
    result = call()
    took = time.perf_counter() - start
    del result
    return took


def collect():
    return timed(gc.collect)


def clone():
    """The bare system call, with the GIL held, as the inspector makes it."""
    syscall = ctypes.PyDLL(None).syscall
    sys_clone, wait_all = 56, 0x40000000  # x86-64; __WALL
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
        name = line.strip()
        before = peak()
        try:
            seconds = globals()[name]()
            answer = {"seconds": seconds, "extra_bytes": peak() - before}
        except Exception as error:  # A peer that fails is a result, too.
            answer = {"error": "%s: %s" % (type(error).__name__, error)}
        answer["tracked"] = len(gc.get_objects()) if name == "collect" else None
        print(json.dumps(answer), flush=True)
    del heap


main()
