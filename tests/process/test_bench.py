"""That `make bench` still measures; what it measures is no test's matter."""

import subprocess
import sys

from support.agent import BUILD, ROOT


def test_the_quick_bench_measures_all_it_names():
    done = subprocess.run(
        [
            sys.executable,
            ROOT / "tests/bench/inspector_speed.py",
            "--build",
            BUILD,
            "--quick",
            "--sizes=20000",
            "--repeat=1",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for line in ["collect", "walk", "states", "components", "child", "clone", "pause"]:
        assert "\n%-14s " % line in done.stdout
    assert done.stdout.count(" met\n") + done.stdout.count(" MISSED\n") == 4
