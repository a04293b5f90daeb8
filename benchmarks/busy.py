"""Time of a run on a machine where other processes use the same cores, relative to the run alone.

Claim: beside three processes that each keep a core busy, ``lbench run --rule lfnn_l --dataset
mnist --epochs 2`` takes at most 3.5 times as long on two cores. With a fair share, half a core,
a run with one thread would take 2 times as long, and a run with two threads 2.5 times.

With ``--older DIR``, a checkout of an older lbench whose environment has the same packages, the
run alone is also compared with the one of that code: at most 1.05.

    LBENCH_DATA=… python benchmarks/busy.py [--repeats 5] [--older DIR]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from timing import alternate, machine, ratio, report, verdict

HERE = Path(__file__).resolve().parent.parent
OTHERS = 3
SPIN = "while True: pass"


def command(tree: Path) -> Callable[[], None]:
    """Return a function that makes the run once, in its own home, with the code of ``tree``.

    lbench decides on the number of threads and on how they wait.
    """
    hidden = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment["PYTHONPATH"] = os.pathsep.join([str(tree), str(tree / "plugins")])
    words = ["run", "--rule", "lfnn_l", "--dataset", "mnist", "--epochs", "2", "--no-store"]

    def train() -> None:
        with tempfile.TemporaryDirectory() as home:
            subprocess.run(
                [sys.executable, "-m", "lbench", *words, "--home", home],
                env=environment,
                cwd=home,
                check=True,
                capture_output=True,
            )

    return train


def beside(train: Callable[[], None]) -> Callable[[], None]:
    """Return a function that makes the run while other processes keep cores busy."""

    def busy() -> None:
        with spinning(OTHERS):
            train()

    return busy


@contextmanager
def spinning(count: int) -> Any:
    """Keep this number of processes busy within the context."""
    others = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        yield
    finally:
        for process in others:
            process.kill()
            process.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--older", type=Path, help="A checkout to compare the run alone with.")
    options = parser.parse_args(arguments)
    alone = command(HERE)
    sides = {"alone": alone, f"beside {OTHERS} busy processes": beside(alone)}
    if options.older is not None:
        sides["alone, older code"] = command(options.older.resolve())
    seconds = alternate(sides, options.repeats)
    print(machine())
    report(seconds, unit=1)
    times = list(seconds.values())
    median, low, high = ratio(times[1], times[0])
    print(f"beside others over alone: {median:.2f} [{low:.2f}, {high:.2f}]")
    met = verdict("beside others over alone", median, 3.5)
    if options.older is not None:
        median, low, high = ratio(times[0], times[2])
        print(f"alone over the older code: {median:.3f} [{low:.3f}, {high:.3f}]")
        met &= verdict("alone over the older code", median, 1.05)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
