"""What the hook and `cyclescope run` add to the start and end of a Python.

usage: start_cost.py [--rounds N] [--build DIR]

For each CPython found: `python -c pass` from fork to wait, without us, with the
environment (the agent runs), by `cyclescope run`, and as a program that an armed
service starts (the hook looks and leaves). The ways take turns in each round, in
another order each time, so that what else the machine does meets all alike; a
difference is taken within a round. Prints a table for results/start_cost.
"""

import argparse
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support import pythons  # noqa: E402


def elapsed_ms(command, env):
    begin = time.perf_counter()
    subprocess.run(command, env=env, check=True, stderr=subprocess.PIPE)
    return (time.perf_counter() - begin) * 1000


def ways(python, build, directory):
    """Name: command and environment; the first is the one to compare with."""
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "CYCLESCOPE"))
    }
    hook = {
        **plain,
        "PYTHONPATH": str(build / "lib" / "cyclescope"),
        "CYCLESCOPE_DIR": directory,
    }
    command = [python.path, "-c", "pass"]
    tool = [str(build / "bin" / "cyclescope"), "run", "--"]
    return {
        "without": (command, plain),
        "environment": (command, hook),
        "run": (tool + command, {**plain, "CYCLESCOPE_DIR": directory}),
        "not armed": (command, {**hook, "CYCLESCOPE_ARMED": "1"}),
    }


def measure(python, build, rounds):
    """Milliseconds of each round, by way."""
    with tempfile.TemporaryDirectory(prefix="cs-") as directory:
        compared = ways(python, build, directory)
        times = {name: [] for name in compared}
        for number in range(-3, rounds):  # The first ones warm the caches.
            for name in random.Random(number).sample(list(compared), len(compared)):
                took = elapsed_ms(*compared[name])
                if number >= 0:
                    times[name].append(took)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    options = parser.parse_args()
    print("| CPython | without | added by | median | 90 % below |")
    print("|---|---|---|---|---|")
    for python in pythons.supported():
        times = measure(python, options.build.resolve(), options.rounds)
        without = times.pop("without")
        for name, took in times.items():
            added = [ours - theirs for ours, theirs in zip(took, without)]
            print(
                "| %s | %.1f ms | %s | %.1f ms | %.1f ms |"
                % (
                    python.name,
                    statistics.median(without),
                    name,
                    statistics.median(added),
                    statistics.quantiles(added, n=10)[8],
                ),
                flush=True,
            )


main()
