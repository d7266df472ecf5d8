"""Times the inspector beside its peers, gc.collect() and a bare clone().

    python inspector_speed.py --build build/release --quick
    python inspector_speed.py --build build/release --output results/inspector_speed

The first takes a minute: our phases and memory on a million tracked objects,
printed. The second adds heaps from 0.1 to 10 million objects, the graph's
algorithms (graph_bench) and the peers, which the Python that runs this must
have, and writes README.md, speed.svg and figures.json.

Each figure is a median of several; what is compared is taken in turn from one
process, so that a slow moment of the machine falls on both. A bound that is
missed is printed as such and fails nothing: the machine may be a busy one.
"""

import argparse
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PHASES = ["walk", "states", "components", "types", "cycles", "writing"]
# What the bound names; paths are part of `states`.
IN_COLLECT = ["walk", "states", "components"]
SIZES = [100_000, 300_000, 1_000_000, 3_000_000, 10_000_000]
PEER_OBJECTS = 1_000_000
PEERS = {  # By the function in heap_program.py: package, what it does there.
    "guppy3": ("guppy3", "hpy().heap()"),
    "guppy3_table": ("guppy3", "str(hpy().heap())"),
    "refcycle": ("refcycle", "snapshot().strongly_connected_components()"),
    "objgraph": ("objgraph", "most_common_types()"),
    "pympler": ("Pympler", "summary.summarize(muppy.get_objects())"),
}


def undisturbed():
    """A prefix for commands to be timed: one core, and nobody else on it.

    Real-time priority where it may be had; the child's niceness counts for
    nothing then, as on a machine with a free core.
    """
    prefix = ["taskset", "-c", str(max(os.sched_getaffinity(0)))]
    real_time = ["chrt", "-r", "1"]
    if shutil.which("chrt") and not subprocess.call(
        real_time + ["true"], stderr=subprocess.DEVNULL
    ):
        prefix += real_time
    return prefix


class Heap:
    """One process with a heap, under the inspector if `build` is given."""

    def __init__(self, objects, build=None):
        self.build = build
        self.directory = tempfile.TemporaryDirectory()
        env = {**os.environ, "CYCLESCOPE_DIR": self.directory.name}
        if build is not None:
            env["PYTHONPATH"] = str(build / "lib/cyclescope")
        self.process = subprocess.Popen(
            undisturbed() + [sys.executable, HERE / "heap_program.py", str(objects)],
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
        """`seconds` and `extra_bytes`, or an `error`."""
        self.process.stdin.write("%s %d\n" % (what, times))
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": "ended: %s" % self.process.wait()}

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

    def text(self, unit, form="%.0f"):
        scale = {"s": 1, "ms": 1e3, "MiB": 2**-20}[unit]
        median, low, high = (
            form % (value * scale) for value in (self.median, min(self.values), max(self.values))
        )
        return median if low == high else "%s (%s … %s)" % (median, low, high)


def measure_ours(objects, build, repeat, keep=None):
    """One heap: Series by name, seconds and bytes; the heap's own figures.

    `keep`: where its heap file shall be copied to.
    """
    with Heap(objects, build) as heap:
        heap.snapshot()  # The first one pages the inspector's code in.
        series = {name: [] for name in ["collect", "clone", "file bytes"]}
        reports = []
        path = pathlib.Path(heap.directory.name) / "heap"
        for _ in range(repeat):
            # `collect` leaves the pages unshared, as a service at work does.
            series["collect"].append(heap.seconds("collect"))
            reports.append(heap.snapshot())
            series["clone"] += heap.ask("clone", 3)["seconds"]
            streamed = heap.snapshot("--heap", path)
            series["file bytes"].append(streamed["taken"]["child_peak_bytes"])
        taken = [report["taken"] for report in reports]
        series["pause"] = [one["pause_us"] / 1e6 for one in taken]
        series["child"] = [one["child_ms"] / 1e3 for one in taken]
        for phase in PHASES:
            series[phase] = [one["phases_us"][phase] / 1e6 for one in taken]
        series["as collect"] = [
            sum(one["phases_us"][phase] for phase in IN_COLLECT) / 1e6 for one in taken
        ]
        series["report bytes"] = [one["child_peak_bytes"] for one in taken]
        row = {name: Series(values) for name, values in series.items()}
        row["tracked"] = reports[-1]["heap"]["tracked"]
        row["objects"] = reports[-1]["heap"]["objects"]
        row["rss"] = heap.rss()
        row["heap file"] = path.stat().st_size
        if keep is not None:
            shutil.copyfile(path, keep)
        return row


def measure_peers(objects, repeat):
    """By peer: `seconds` and `collect` as Series, `extra_bytes`; or `error`."""
    rows = {}
    for name in PEERS:
        say("peer %s" % name)
        with Heap(objects) as heap:
            collect = heap.ask("collect", repeat)
            row = heap.ask(name, repeat)
        if "seconds" in row:
            row["seconds"] = Series(row["seconds"])
            row["collect"] = Series(collect["seconds"])
        rows[name] = row
    return rows


def measure_graph(build, repeat, heap_file):
    """{(algorithm, nodes): milliseconds, median}; 0 nodes: the heap file."""
    done = subprocess.run(
        undisturbed()
        + [
            build / "bin/graph_bench",
            "--benchmark_repetitions=%d" % repeat,
            "--benchmark_format=json",
        ],
        env={**os.environ, "CYCLESCOPE_HEAP": str(heap_file)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    times = {}
    for run in json.loads(done.stdout)["benchmarks"]:
        if run["run_type"] == "iteration":
            algorithm, nodes = run["name"].split("/")[:2]
            times.setdefault((algorithm, int(nodes)), []).append(run["real_time"] / 1e3)
    return {key: Series(values) for key, values in times.items()}


def measure_top(build, repeat, heap_file):
    """Seconds of the whole command, from its start to its end."""

    def once():
        start = time.perf_counter()
        subprocess.run(
            undisturbed() + [build / "bin/cyclescope", "top", heap_file, "--json"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - start

    return Series(once() for _ in range(repeat))


def slope(points):
    """Of log(cost) over log(size), least squares: 1 is linear."""
    logs = [(math.log(x), math.log(y)) for x, y in points]
    mean_x = statistics.mean(x for x, _ in logs)
    mean_y = statistics.mean(y for _, y in logs)
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum(
        (x - mean_x) ** 2 for x, _ in logs
    )


def figures_of(rows, main, peers=None, graph=None):
    """(what must hold, bound, figure, whether it does)."""
    figures = []

    def at_most(what, bound, figure):
        figures.append((what, "≤ %g" % bound, "%.2f" % figure, figure <= bound))

    def at_least(what, bound, figure):
        figures.append((what, "≥ %g" % bound, "%.1f" % figure, figure >= bound))

    collect = main["collect"].median
    at_most("pause / bare clone()", 1.15, main["pause"].median / main["clone"].median)
    at_most(
        "walk + components + states + paths / gc.collect()",
        1.5,
        main["as collect"].median / collect,
    )
    at_most("memory for the report / RSS", 0.35, main["report bytes"].median / main["rss"])
    at_most("memory for a heap file / RSS", 0.10, main["file bytes"].median / main["rss"])
    if graph:
        host = graph["DominatorTree", 0].median + graph["Retained", 0].median
        at_most("dominators + retained sizes, host / gc.collect()", 4, host / collect)
        at_most("`top FILE`, the whole command / gc.collect()", 4, main["top"].median / collect)
    for name, bound in (("guppy3", 10), ("refcycle", 50)):
        row = (peers or {}).get(name, {})
        if "seconds" in row:
            # Each against the collections of its own process; ours is all from
            # the clone to the finished report.
            theirs = row["seconds"].median / row["collect"].median
            at_least(
                "%s's `%s` / whole report" % PEERS[name],
                bound,
                theirs / (main["child"].median / collect),
            )
    if len(rows) > 1:
        at_most(
            "slope of log(child's time) over log(objects)",
            1.05,
            slope([(row["objects"], row["child"].median) for row in rows]),
        )
    return figures


def print_quick(row):
    print(
        "%s tracked, %s objects, %.0f MiB RSS; %s; load %.1f; median (least … most) of %d"
        % (
            format(row["tracked"], ","),
            format(row["objects"], ","),
            row["rss"] / 2**20,
            " ".join(undisturbed()),
            os.getloadavg()[0],
            len(row["collect"].values),
        )
    )
    for name in ["collect", *PHASES, "child"]:
        print("%-14s %s ms" % (name, row[name].text("ms")))
    for name in ["clone", "pause"]:
        print("%-14s %s ms" % (name, row[name].text("ms", "%.2f")))
    for name in ["report bytes", "file bytes"]:
        print("%-14s %s MiB" % (name, row[name].text("MiB", "%.1f")))
    for what, bound, figure, met in figures_of([row], row):
        print("%-52s %8s %8s  %s" % (what, bound, figure, "met" if met else "MISSED"))


def svg(bars):
    """Horizontal bars on a logarithmic scale, with the spread: (label, Series)."""
    low = math.floor(math.log10(min(min(series.values) for _, series in bars)))
    high = math.ceil(math.log10(max(max(series.values) for _, series in bars)))
    left, width, step = 275, 415, 26
    height = step * len(bars) + 50

    def x(value):
        return left + width * (math.log10(value) - low) / (high - low)

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 %d" '
        'font-family="sans-serif" font-size="13">' % height,
        '<rect width="780" height="%d" fill="white"/>' % height,
    ]
    for power in range(low, high + 1):
        at = x(10.0**power)
        parts.append(
            '<line x1="%.1f" x2="%.1f" y1="10" y2="%d" stroke="#ddd"/>' % (at, at, height - 30)
        )
        parts.append(
            '<text x="%.1f" y="%d" text-anchor="middle" fill="#555">%g s</text>'
            % (at, height - 12, 10.0**power)
        )
    for number, (label, series) in enumerate(bars):
        y = 14 + step * number
        colour = "#2563eb" if label.startswith("cyclescope") else "#9ca3af"
        parts.append(
            '<rect x="%d" y="%d" width="%.1f" height="18" fill="%s"/>'
            % (left, y, x(series.median) - left, colour)
        )
        least, most = x(min(series.values)), x(max(series.values))
        parts.append(
            '<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#111"/>' % (least, most, y + 9, y + 9)
        )
        parts.append('<text x="%d" y="%d" text-anchor="end">%s</text>' % (left - 8, y + 14, label))
        parts.append(
            '<text x="%.1f" y="%d" fill="#333">%.3g s</text>' % (most + 5, y + 14, series.median)
        )
    return "\n".join(parts + ["</svg>\n"])


def machine():
    model = next(
        line.split(":", 1)[1].strip()
        for line in open("/proc/cpuinfo")
        if line.startswith("model name")
    )
    return "%s, %d cores, Linux %s" % (model, os.cpu_count(), platform.release())


def version_of_this():
    def git(*arguments):
        return subprocess.run(
            ["git", *arguments], cwd=HERE, capture_output=True, text=True
        ).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    # A rebase changes the hash, not the subject.
    return git("log", "-1", "--format=%h (%s)") + (" and changes" if changed else "")


def table(head, rows):
    lines = ["| %s |" % " | ".join(head), "|%s" % ("---|" * len(head))]
    return lines + ["| %s |" % " | ".join(row) for row in rows] + [""]


def facts_of(options):
    """Taken before anything is measured: the commit may be another one after."""
    arguments = " ".join(sys.argv[3:])  # After --build and its value, see Makefile.
    return {
        "measured": time.strftime("%Y-%m-%d"),
        "commit": version_of_this(),
        "machine": machine(),
        "python": platform.python_version(),
        "peers": {
            package: importlib.metadata.version(package) for package, _ in PEERS.values()
        },
        "command": "make bench" + (" BENCH_ARGS='%s'" % arguments if arguments else ""),
        "run_by": " ".join(undisturbed()),
        "load_average_before": os.getloadavg(),
        "repeated": options.repeat,
    }


def write_results(output, facts, rows, main, peers, graph):
    output.mkdir(parents=True, exist_ok=True)
    figures = figures_of(rows, main, peers, graph)
    everything = {
        **facts,
        "figures": [
            dict(zip(("what", "bound", "measured", "met"), figure)) for figure in figures
        ],
        "heaps": rows,
        "peers_on_the_heap": peers,
        "graph": {"%s/%d" % key: series for key, series in graph.items()},
    }
    text = json.dumps(everything, indent=1, default=lambda series: series.values)
    (output / "figures.json").write_text(text + "\n")
    host = Series(
        a + b
        for a, b in zip(graph["DominatorTree", 0].values, graph["Retained", 0].values)
    )
    bars = [
        ("cyclescope: pause of the service", main["pause"]),
        ("a bare clone()", main["clone"]),
        ("cyclescope: walk, components, states", main["as collect"]),
        ("cyclescope: whole report", main["child"]),
        ("cyclescope: retained sizes, host", host),
        ("cyclescope: top FILE, host", main["top"]),
        ("gc.collect()", main["collect"]),
    ]
    bars += [(name.replace("_", " "), row["seconds"]) for name, row in peers.items() if "seconds" in row]
    (output / "speed.svg").write_text(svg(bars))
    lines = [
        "# The inspector's speed",
        "",
        "Repeat with `%s`. All figures are medians of %d (least … most);"
        % (facts["command"], facts["repeated"]),
        "`figures.json` has every one.",
        "",
        "- measured on %s at commit %s" % (facts["measured"], facts["commit"]),
        "- %s; load average %.1f before, %.1f after"
        % (facts["machine"], facts["load_average_before"][0], facts["load_average_after"][0]),
        "- CPython %s, %s"
        % (facts["python"], ", ".join("%s %s" % peer for peer in facts["peers"].items())),
        "- whatever is timed is run by `%s`" % facts["run_by"],
        "",
        "![Seconds on a heap of %.1f million tracked objects](speed.svg)"
        % (main["tracked"] / 1e6),
        "",
        "On %s tracked objects (%s in all), %.0f MiB RSS:"
        % (format(main["tracked"], ","), format(main["objects"], ","), main["rss"] / 2**20),
        "",
    ]
    lines += table(
        ["what must hold", "bound", "measured", ""],
        [
            [what, bound, figure, "met" if met else "**missed**"]
            for what, bound, figure, met in figures
        ],
    )
    lines += ["Where the time goes, in ms:", ""]
    lines += table(
        ["tracked", "gc.collect()", *PHASES, "whole child", "ns per object"],
        [
            [format(row["tracked"], ",")]
            + [row[name].text("ms") for name in ["collect", *PHASES, "child"]]
            + ["%.0f" % (row["child"].median / row["objects"] * 1e9)]
            for row in rows
        ],
    )
    lines += ["Pause in ms, memory in MiB:", ""]
    lines += table(
        ["tracked", "bare clone()", "pause", "RSS", "for the report", "for a heap file", "heap file"],
        [
            [
                format(row["tracked"], ","),
                row["clone"].text("ms", "%.2f"),
                row["pause"].text("ms", "%.2f"),
                "%.0f" % (row["rss"] / 2**20),
                row["report bytes"].text("MiB"),
                row["file bytes"].text("MiB"),
                "%.0f" % (row["heap file"] / 2**20),
            ]
            for row in rows
        ],
    )
    lines += ["The peers on the same heap, each in a process of its own without us:", ""]
    peer_rows = []
    for name, row in peers.items():
        call = "%s: `%s`" % PEERS[name]
        if "seconds" not in row:
            peer_rows.append([call, row["error"], "", ""])
            continue
        peer_rows.append(
            [
                call,
                row["seconds"].text("s", "%.2f"),
                "%.1f" % (row["seconds"].median / row["collect"].median),
                "%.0f" % (row["extra_bytes"] / 2**20),
            ]
        )
    lines += table(["peer", "s", "times gc.collect()", "peak memory added, MiB"], peer_rows)
    lines += [
        "pyheap is not among them: it has no package to install (its dumper is a file",
        "of its releases that needs gdb).",
        "",
        "The graph's algorithms alone (`graph_bench`), on made heaps and on the heap",
        "file of the heap above, in ms:",
        "",
    ]
    sizes = sorted({nodes for _, nodes in graph if nodes > 0})
    lines += table(
        ["algorithm", *("%s nodes" % format(nodes, ",") for nodes in sizes), "slope", "heap file"],
        [
            [algorithm]
            + [graph[algorithm, nodes].text("ms", "%.1f") for nodes in sizes]
            + [
                "%.2f" % slope([(nodes, graph[algorithm, nodes].median) for nodes in sizes]),
                graph[algorithm, 0].text("ms", "%.1f"),
            ]
            for algorithm in dict.fromkeys(name for name, _ in graph)
        ],
    )
    note = "The slope is that of log(time) over log(size): 1 is linear; small heaps fit the\n"
    note += "processor's caches"
    if len(rows) > 1:
        note += ", which gives gc.collect() %.2f over the heaps above" % slope(
            [(row["objects"], row["collect"].median) for row in rows]
        )
    lines.append(note + ".")
    (output / "README.md").write_text("\n".join(lines) + "\n")


def say(what):
    print("bench: %s" % what, file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, default="results/inspector_speed")
    parser.add_argument("--quick", action="store_true", help="our own figures, one heap")
    parser.add_argument("--sizes", help="tracked objects, instead of 0.1 to 10 million")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")] if options.sizes else SIZES
    if options.quick:
        size = sizes[0] if options.sizes else PEER_OBJECTS
        print_quick(measure_ours(size, options.build, options.repeat))
        return
    facts = facts_of(options)
    compared = min(sizes, key=lambda size: abs(size - PEER_OBJECTS))
    with tempfile.TemporaryDirectory() as directory:
        heap_file = pathlib.Path(directory) / "heap"
        rows = []
        for size in sizes:
            say("%s tracked objects" % format(size, ","))
            keep = heap_file if size == compared else None
            rows.append(measure_ours(size, options.build, options.repeat, keep))
        say("the graph's algorithms")
        graph = measure_graph(options.build, options.repeat, heap_file)
        main_row = rows[sizes.index(compared)]
        main_row["top"] = measure_top(options.build, options.repeat, heap_file)
    peers = measure_peers(compared, options.repeat)
    facts["load_average_after"] = os.getloadavg()
    write_results(options.output, facts, rows, main_row, peers, graph)
    print((options.output / "README.md").read_text())


main()
