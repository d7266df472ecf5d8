"""Times the inspector beside gc.collect() and a bare clone() of the same process.

    python inspector_speed.py --build build/release --quick

One process with a heap of a million tracked objects; everything in turn, so
that a slow moment of the machine falls on all of it. Prints a table to stdout.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PHASES = ["walk", "states", "components", "types", "cycles", "writing"]
# What issue and README hold us to.
IN_COLLECT = ["walk", "states", "components"]  # Paths are part of `states`.


def undisturbed():
    """A prefix for commands to be timed: one core, and nobody else on it.

    Real-time priority where it may be had; the child's niceness counts for
    nothing then, as on a machine with a free core.
    """
    prefix = ["taskset", "-c", str(max(os.sched_getaffinity(0)))]
    real_time = ["chrt", "-f", "1"]
    if shutil.which("chrt") and not subprocess.call(
        real_time + ["true"], stderr=subprocess.DEVNULL
    ):
        prefix += real_time
    return prefix


class Heap:
    """One process with a heap, under the inspector if `build` is given."""

    def __init__(self, python, objects, build=None):
        self.build = build
        self.directory = tempfile.TemporaryDirectory()
        env = {**os.environ, "CYCLESCOPE_DIR": self.directory.name}
        if build is not None:
            env["PYTHONPATH"] = str(build / "lib/cyclescope")
        self.process = subprocess.Popen(
            undisturbed() + [python, HERE / "heap_program.py", str(objects)],
            env=env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout.readline() == "ready\n"

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.directory.cleanup()

    def ask(self, what, times=1):
        self.process.stdin.write("%s %d\n" % (what, times))
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def seconds(self, what):
        return self.ask(what)["seconds"][0]

    def rss(self):
        pages = open("/proc/%d/statm" % self.process.pid).read().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def snapshot(self, *arguments):
        socket = next(pathlib.Path(self.directory.name).glob("*.sock"))
        done = subprocess.run(
            [self.build / "bin/cyclescope", "snapshot", socket, "--json", *arguments],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


class Series:
    """What one thing took, every time."""

    def __init__(self, values):
        self.values = list(values)
        self.median = statistics.median(self.values)

    def text(self, scale, form):
        low, high = min(self.values) * scale, max(self.values) * scale
        return (form + " (" + form + " … " + form + ")") % (self.median * scale, low, high)


def measure_ours(python, objects, build, repeat):
    """Series by name: seconds, and bytes of own memory."""
    with Heap(python, objects, build) as heap:
        heap.snapshot()  # The first one pages the inspector's code in.
        series = {name: [] for name in ["collect", "clone"]}
        reports = []
        for _ in range(repeat):
            # `collect` leaves the pages unshared, as a service at work does.
            series["collect"].append(heap.seconds("collect"))
            reports.append(heap.snapshot())
            series["clone"].append(heap.seconds("clone"))
        taken = [report["taken"] for report in reports]
        series["pause"] = [one["pause_us"] / 1e6 for one in taken]
        series["child"] = [one["child_ms"] / 1e3 for one in taken]
        for phase in PHASES:
            series[phase] = [one["phases_us"][phase] / 1e6 for one in taken]
        series["as collect"] = [
            sum(one["phases_us"][phase] for phase in IN_COLLECT) / 1e6 for one in taken
        ]
        series["report bytes"] = [one["child_peak_bytes"] for one in taken]
        heap.seconds("collect")
        path = pathlib.Path(heap.directory.name) / "heap"
        streamed = heap.snapshot("--heap", path)
        series["file bytes"] = [streamed["taken"]["child_peak_bytes"]]
        row = {name: Series(values) for name, values in series.items()}
        row["tracked"] = reports[-1]["heap"]["tracked"]
        row["objects"] = reports[-1]["heap"]["objects"]
        row["rss"] = heap.rss()
        return row


def verdicts(row):
    """(what must hold, bound, figure, met) of one heap."""

    def at_most(what, bound, figure):
        return what, "≤ %g" % bound, "%.2f" % figure, figure <= bound

    def ratio(a, b):
        return row[a].median / row[b].median

    return [
        at_most("pause / bare clone()", 1.15, ratio("pause", "clone")),
        at_most(
            "walk + components + states + paths / gc.collect()",
            1.5,
            ratio("as collect", "collect"),
        ),
        at_most("own memory / RSS, report", 0.35, row["report bytes"].median / row["rss"]),
        at_most("own memory / RSS, heap file", 0.10, row["file bytes"].median / row["rss"]),
    ]


def print_quick(row, prefix):
    print(
        "%s tracked, %s objects, %.0f MiB RSS; %s; load %s; median (least … most) of %d"
        % (
            format(row["tracked"], ","),
            format(row["objects"], ","),
            row["rss"] / 2**20,
            " ".join(prefix),
            os.getloadavg()[0],
            len(row["collect"].values),
        )
    )
    for name in ["collect", *PHASES, "child"]:
        print("%-14s %s ms" % (name, row[name].text(1e3, "%.0f")))
    for name in ["clone", "pause"]:
        print("%-14s %s ms" % (name, row[name].text(1e3, "%.2f")))
    for name in ["report bytes", "file bytes"]:
        print("%-14s %s MiB" % (name, row[name].text(2**-20, "%.1f")))
    for what, bound, figure, met in verdicts(row):
        print("%-52s %8s %8s  %s" % (what, bound, figure, "met" if met else "MISSED"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    row = measure_ours(options.python, options.objects, options.build, options.repeat)
    print_quick(row, undisturbed())


main()
