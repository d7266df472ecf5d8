"""Times the inspector against its peers, in one run on the same heaps.

    python inspector_speed.py --build build/release --peers build/venvs/bench \
        --output results/inspector_speed [--sizes 100000,…] [--peer-size 1000000]

Every figure is a median of several; ratios are between figures of one process.
pyheap is left out: it has no package to install.
"""

import argparse
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PEERS = ["guppy3", "refcycle", "objgraph", "pympler"]


class Heap:
    """One process with a heap; armed with the inspector or not."""

    def __init__(self, python, objects, build=None):
        self.build = build
        self.directory = tempfile.TemporaryDirectory()
        env = {**os.environ, "CYCLESCOPE_DIR": self.directory.name}
        if build is not None:
            env["PYTHONPATH"] = str(build / "lib/cyclescope")
        self.process = subprocess.Popen(
            [python, HERE / "heap_program.py", str(objects)],
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
        self.directory.cleanup()

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def rss(self):
        pages = open("/proc/%d/statm" % self.process.pid).read().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def cyclescope(self, *arguments):
        socket = next(pathlib.Path(self.directory.name).glob("*.sock"))
        done = subprocess.run(
            [self.build / "bin/cyclescope", arguments[0], socket, "--json"]
            + list(arguments[1:]),
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)


def median_of(measure, times):
    return statistics.median(measure() for _ in range(times))


def measure_ours(python, objects, build, repeat):
    with Heap(python, objects, build) as heap:
        # In turn, so that a slow moment of the machine falls on all of them.
        collects, clones, snapshots = [], [], []
        for _ in range(repeat):
            collects.append(heap.ask("collect")["seconds"])
            clones.append(heap.ask("clone")["seconds"])
            snapshots.append(heap.cyclescope("snapshot"))
        rss = heap.rss()
        row = {
            "tracked": snapshots[-1]["heap"]["tracked"],
            "objects": snapshots[-1]["heap"]["objects"],
            "rss_bytes": rss,
            "collect_s": statistics.median(collects),
            "clone_s": statistics.median(clones),
            "pause_s": statistics.median(s["taken"]["pause_us"] / 1e6 for s in snapshots),
            "child_s": statistics.median(s["taken"]["child_ms"] / 1e3 for s in snapshots),
            "own_bytes": statistics.median(s["taken"]["child_peak_bytes"] for s in snapshots),
        }
        path = pathlib.Path(heap.directory.name) / "heap"
        try:
            heap.cyclescope("snapshot", "--heap", str(path))
        except subprocess.CalledProcessError as error:
            row["heap_file_error"] = error.stderr.strip()
            return row
        row["heap_file_bytes"] = path.stat().st_size

        def dominators():
            start = time.perf_counter()
            subprocess.run(
                [build / "bin/cyclescope", "top", path, "--json"],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            return time.perf_counter() - start

        row["top_s"] = median_of(dominators, 3)
        return row


def measure_peers(python, objects):
    rows = {}
    for name in PEERS:
        with Heap(python, objects) as heap:
            collect = heap.ask("collect")
            rows[name] = {**heap.ask(name), "collect_s": collect["seconds"]}
        print("  %s: %s" % (name, rows[name]), file=sys.stderr, flush=True)
    return rows


def slope(rows, key):
    """Of log(cost) over log(objects), least squares: 1 is linear."""
    points = [(math.log(row["tracked"]), math.log(row[key])) for row in rows]
    mean_x = statistics.mean(x for x, _ in points)
    mean_y = statistics.mean(y for _, y in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum(
        (x - mean_x) ** 2 for x, _ in points
    )


def svg(bars):
    """Horizontal bars on a logarithmic scale: (label, seconds)."""
    low = math.floor(math.log10(min(value for _, value in bars)))
    high = math.ceil(math.log10(max(value for _, value in bars)))
    left, width, step = 230, 460, 26
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
    for number, (label, value) in enumerate(bars):
        y = 14 + step * number
        colour = "#2563eb" if label.startswith("cyclescope") else "#9ca3af"
        parts.append(
            '<rect x="%d" y="%d" width="%.1f" height="18" fill="%s"/>'
            % (left, y, x(value) - left, colour)
        )
        parts.append('<text x="%d" y="%d" text-anchor="end">%s</text>' % (left - 8, y + 14, label))
        parts.append('<text x="%.1f" y="%d" fill="#333">%.3g s</text>' % (x(value) + 5, y + 14, value))
    return "\n".join(parts + ["</svg>\n"])


def machine():
    model = next(
        line.split(":", 1)[1].strip()
        for line in open("/proc/cpuinfo")
        if line.startswith("model name")
    )
    return "%s, %d cores, Linux %s" % (model, os.cpu_count(), platform.release())


def write_results(output, python_version, ours, main, peers, command):
    output.mkdir(parents=True, exist_ok=True)
    figures = {
        "machine": machine(),
        "python": python_version,
        "command": command,
        "heaps": ours,
        "peers": peers,
    }
    (output / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    bars = [
        ("cyclescope: pause of the service", main["pause_s"]),
        ("a bare clone()", main["clone_s"]),
        ("cyclescope: walk to report", main["child_s"]),
        ("gc.collect()", main["collect_s"]),
    ]
    if "top_s" in main:
        bars.append(("cyclescope top: retained sizes", main["top_s"]))
    bars += [(name, row["seconds"]) for name, row in peers.items() if "seconds" in row]
    (output / "speed.svg").write_text(svg(bars))
    lines = [
        "# The inspector's speed",
        "",
        "Repeat: `make bench`. Measured %s on %s, CPython %s. Medians;"
        % (time.strftime("%Y-%m-%d"), machine(), python_version),
        "`figures.json` has them all.",
        "",
        "![Seconds on a heap of %.1f million tracked objects](speed.svg)" % (main["tracked"] / 1e6),
        "",
        "| what must hold, %s tracked objects, %.0f MiB RSS | bound | measured |"
        % (format(main["tracked"], ","), main["rss_bytes"] / 2**20),
        "|---|---|---|",
    ]

    def hold(what, bound, value, fmt="%.2f", at_most=True):
        met = value <= bound if at_most else value >= bound
        sign = "≤" if at_most else "≥"
        text = fmt % value + ("" if met else " (**missed**)")
        lines.append("| %s | %s %g | %s |" % (what, sign, bound, text))

    hold("pause / bare clone", 1.15, main["pause_s"] / main["clone_s"])
    hold("walk, components, states, paths, report / gc.collect()", 1.5,
         main["child_s"] / main["collect_s"])
    hold("own memory / RSS", 0.35, main["own_bytes"] / main["rss_bytes"])
    if "top_s" in main:
        hold("reading the heap file, dominators, retained, printing / gc.collect()", 4,
             main["top_s"] / main["collect_s"])
    for name, bound in (("guppy3", 10), ("refcycle", 50)):
        if "seconds" in peers.get(name, {}):
            # Each against the collection of its own process.
            theirs = peers[name]["seconds"] / peers[name]["collect_s"]
            hold("%s / cyclescope" % name, bound,
                 theirs / (main["child_s"] / main["collect_s"]), "%.1f", at_most=False)
    if len(ours) > 1:
        hold("log-log slope of the child's time over objects", 1.05, slope(ours, "child_s"))
    lines += [
        "",
        "| tracked | objects | RSS | gc.collect() | pause | bare clone | child | ns per object | own memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in ours:
        lines.append(
            "| %s | %s | %.0f MiB | %.0f ms | %.1f ms | %.1f ms | %.0f ms | %.0f | %.0f MiB |"
            % (
                format(row["tracked"], ","),
                format(row["objects"], ","),
                row["rss_bytes"] / 2**20,
                row["collect_s"] * 1e3,
                row["pause_s"] * 1e3,
                row["clone_s"] * 1e3,
                row["child_s"] * 1e3,
                row["child_s"] / row["objects"] * 1e9,
                row["own_bytes"] / 2**20,
            )
        )
    lines += ["", "| peer | time | peak memory added |", "|---|---|---|"]
    for name, row in peers.items():
        lines.append(
            "| %s | %.2f s | %.0f MiB |" % (name, row["seconds"], row["extra_bytes"] / 2**20)
            if "seconds" in row
            else "| %s | %s | |" % (name, row["error"])
        )
    (output / "README.md").write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--peers", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--sizes", default="100000,300000,1000000,3000000,10000000")
    parser.add_argument("--peer-size", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    python = str(options.peers / "bin/python")
    version = subprocess.check_output([python, "-V"], text=True).split()[1]
    ours = []
    for size in [int(text) for text in options.sizes.split(",")]:
        print("%s objects" % format(size, ","), file=sys.stderr, flush=True)
        repeat = options.repeat if size <= 3_000_000 else 3
        ours.append(measure_ours(python, size, options.build, repeat))
        print("  %s" % ours[-1], file=sys.stderr, flush=True)
    print("peers on %s objects" % format(options.peer_size, ","), file=sys.stderr, flush=True)
    peers = measure_peers(python, options.peer_size)
    main = min(ours, key=lambda row: abs(row["tracked"] - options.peer_size))
    command = "make bench"
    write_results(options.output, version, ours, main, peers, command)
    print(open(options.output / "README.md").read())


main()
