"""Checks the inspector in this very place: a heap that is known, looked into.

`cyclescope selftest` starts it with the Python, user, root and limits of a
service. One line of JSON on stdout, exit status 0 if all holds. In words that
every Python can read, so that an old one gets its sentence, too.
"""

import gc
import json
import os
import sys
import time

PINNED, FLOATING, IN_FLIGHT = 100, 200, 50

kept = []


class Pinned(object):
    pass


class Floating(object):
    pass


class InFlight(object):
    pass


def ring(kind):
    """Two objects that refer to each other."""
    one, two = kind(), kind()
    one.other, two.other = two, one
    return one


def look(cyclescope):
    """(what the collector tracks, a report, what it then finds) of a heap with
    all three kinds."""
    for _ in range(FLOATING // 2):
        ring(Floating)
    flying = [ring(InFlight) for _ in range(IN_FLIGHT // 2)]
    tracked = len(gc.get_objects())
    report = cyclescope.snapshot(
        watch=["__main__.Pinned", "__main__.Floating", "__main__.InFlight"]
    )
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    garbage = len(gc.garbage)
    del gc.garbage[:], flying
    gc.collect()
    return tracked, report, garbage


def check_load(found):
    import cyclescope

    if not cyclescope.arm():
        raise AssertionError("switched off by CYCLESCOPE=0")
    found["cyclescope"] = cyclescope
    return "%s, listening in %s" % (sys.version.split()[0], directory())


def directory():
    """Where this process's socket lies."""
    name = "cyclescope-%d.sock" % os.getpid()
    for folder in (os.environ.get("CYCLESCOPE_DIR"), "/run", "/tmp", "/dev/shm"):
        if folder and os.path.exists(os.path.join(folder, name)):
            return folder
    raise AssertionError("no socket of this process can be found")


def check_walk(found):
    look(found["cyclescope"])  # The first imports what it needs.
    expected, found["report"], found["garbage"] = look(found["cyclescope"])
    tracked = found["report"]["heap"]["tracked"]
    # The list of them and the frames of the call came and went between.
    if abs(tracked - expected) > 50:
        raise AssertionError(
            "%d tracked objects seen, the collector has %d" % (tracked, expected)
        )
    return "%d objects; tracked %d, the collector has %d" % (
        found["report"]["heap"]["objects"],
        tracked,
        expected,
    )


def check_states(found):
    expected = {
        "__main__.Pinned": ("pinned", PINNED),
        "__main__.Floating": ("floating", FLOATING),
        "__main__.InFlight": ("in_flight", IN_FLIGHT),
    }
    for entry in found["report"]["watched"]:
        state, count = expected.pop(entry["type"])
        if entry["alive"] != count or entry[state] != count:
            raise AssertionError(
                "%d of %d %s objects are %s"
                % (entry[state], count, entry["type"], state.replace("_", " "))
            )
    if expected:
        raise AssertionError("not found: %s" % ", ".join(sorted(expected)))
    floating = found["report"]["heap"]["floating_objects"]
    if floating != found["garbage"]:
        raise AssertionError(
            "%d objects called floating, the collector took %d"
            % (floating, found["garbage"])
        )
    return "%d pinned, %d floating (the collector took the same %d), %d in flight" % (
        PINNED,
        FLOATING,
        floating,
        IN_FLIGHT,
    )


def check_guard(found):
    import resource

    guard = found["report"]["taken"]["guard"]
    if guard["headroom"] is None:
        raise AssertionError("neither a memory limit nor free memory can be read")
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 20), hard))
    try:
        found["cyclescope"].snapshot()
    except RuntimeError as refusal:
        reason = str(refusal)
    else:
        raise AssertionError("a snapshot was taken without memory for it")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    found["cyclescope"].snapshot()
    return "%d MiB free of %s; without memory it leaves (%s)" % (
        guard["headroom"] >> 20,
        guard["limited_by"],
        reason.split(";")[0].split(":")[0],
    )


def check_harmless(found):
    def state():
        with open("/proc/self/status") as status:
            threads = [line.split()[1] for line in status if line.startswith("Threads")]
        return sorted(os.listdir("/proc/self/fd"), key=int)[:-1], threads

    before = state()
    started = time.time()
    pauses = [found["cyclescope"].snapshot()["taken"]["pause_us"] for _ in range(5)]
    took = (time.time() - started) / len(pauses)
    after = state()
    if before != after:
        raise AssertionError("descriptors and threads went from %s to %s" % (before, after))
    try:
        os.waitpid(-1, os.WNOHANG)
    except OSError:
        pass
    else:
        raise AssertionError("a child of the snapshot can be waited for")
    return "pause %.2f ms, %.0f ms in all" % (sorted(pauses)[2] / 1000.0, took * 1000)


CHECKS = [check_load, check_walk, check_states, check_guard, check_harmless]


def main():
    started = time.time()
    gc.disable()
    kept.extend(ring(Pinned) for _ in range(PINNED // 2))
    found = {}
    checks = []
    for check in CHECKS:
        entry = {"check": check.__name__[len("check_") :], "ok": False}
        checks.append(entry)
        try:
            entry["says"] = check(found)
            entry["ok"] = True
        except Exception as error:
            entry["says"] = " ".join(str(error).split()) or type(error).__name__
            break
    verified = checks[-1]["ok"]
    result = {
        "schema": "cyclescope.selftest/1",
        "verified": verified,
        "executable": sys.executable,
        "python": "%d.%d.%d" % sys.version_info[:3],
        "uid": os.getuid(),
        "seconds": round(time.time() - started, 3),
        "checks": checks,
    }
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    return 0 if verified else 1


if __name__ == "__main__":
    sys.exit(main())
