"""Waiting times of a user: for help, listings, the first step of a run, and a finished run.

Each time is that of a whole process on MNIST with decoded data and an existing store. One process
before them is not counted.

    LBENCH_DATA=DIR python benchmarks/start.py [--repeats 7]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from timing import machine, verdict

RUN = ("run", "--rule", "bp", "--dataset", "mnist", "--examples", "12800", "--json")
BARS = {
    "lbench --help": 0.3,
    "lbench rules": 0.3,
    "start to first step": 4.0,
    "a finished run reported": 2.5,
}


def whole(*arguments: str) -> float:
    """Return the seconds of one process."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "lbench", *arguments]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begin


def first_step(home: str) -> float:
    """Return the seconds from the start of the process to its first step."""
    begin = time.time()
    command = [sys.executable, "-m", "lbench", *RUN, "--home", home, "--force"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    run_dir = Path(json.loads(done.stdout)["runs"][0]["run_dir"])
    started: float = json.loads((run_dir / "spec.json").read_text())["started"]
    return started - begin


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    print(machine())
    with tempfile.TemporaryDirectory() as home:
        sides: dict[str, Callable[[], float]] = {
            "lbench --help": lambda: whole("--help"),
            "lbench rules": lambda: whole("rules"),
            "start to first step": lambda: first_step(home),
            "a finished run reported": lambda: whole(*RUN, "--home", home),
        }
        measured: dict[str, list[float]] = {name: [] for name in sides}
        for repeat in range(-1, repeats):
            for name, side in sides.items():
                seconds = side()
                if repeat >= 0:
                    measured[name].append(seconds)
    met = True
    for name, times in measured.items():
        print(f"{name:26} [{min(times):.2f}, {max(times):.2f}] s")
        met &= verdict(f"{name}, median s", statistics.median(times), BARS[name])
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
