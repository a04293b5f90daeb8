"""What a trial of a search costs beside its training, on a warm worker.

Claim: from one trial's end to the next one's, what is neither training nor evaluation takes at
most 0.3 s: to ask Optuna, resolve, build, look at three steps, answer the pruner's questions,
write the run directory, tell Optuna, take the run into the record and publish it in MLflow. A
real search of ``lfnn_l`` with one worker on one thread; its first trial, in a worker that has
just been spawned, does not count.

    LBENCH_DATA=DIR python benchmarks/trial.py [--trials 21] [--epochs 3] [--datasets digits,mnist]
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from timing import machine, verdict

from lbench.execute.messages import Ended
from lbench.execute.pool import Pool
from lbench.execute.writer import Writer
from lbench.home import Home
from lbench.registry import registry
from lbench.report.summary import metrics
from lbench.study.definition import Arm, Search, Study
from lbench.study.plan import plan
from lbench.study.runner import Runner
from lbench.study.search import OptunaSearch

BAR = 0.3
DRIVER = {
    "ask": (OptunaSearch, "next"),
    "report": (OptunaSearch, "epoch"),
    "tell": (OptunaSearch, "ended_seed"),
    "join": (Writer, "join"),
    "take": (Writer, "take"),
    "publish": (Writer, "publish"),
}
"""The driver's own part of a trial."""


class Quiet:
    """A display that shows nothing."""

    def search(self, key: str, ended: int, wanted: int, best: float | None) -> None: ...
    def final(self, key: str, ended: int, wanted: int) -> None: ...
    def run(self, name: str, done: int, steps: int) -> None: ...
    def over(self, name: str) -> None: ...
    def note(self, text: str) -> None: ...


class Trials:
    """When each trial was submitted and has ended, and what the driver did in between."""

    def __init__(self) -> None:
        self.submitted: list[float] = []
        self.ended: list[tuple[float, dict[str, float]]] = []
        self.spent: dict[str, list[float]] = defaultdict(list)
        for name, (cls, method) in DRIVER.items():
            self._time(name, cls, method)

    def _time(self, name: str, cls: type, method: str) -> None:
        plain = getattr(cls, method)

        @functools.wraps(plain)
        def timed(*arguments: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            try:
                return plain(*arguments, **options)
            finally:
                self.spent[name].append(time.perf_counter() - begin)

        setattr(cls, method, timed)


class Watched(Pool):
    """A pool that remembers when what happened.

    Args:
        trials: where it is written down.
    """

    def __init__(self, trials: Trials, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.trials = trials

    def submit(self, job: Any) -> None:
        if job.trial:
            self.trials.submitted.append(time.perf_counter())
        super().submit(job)

    def events(self, timeout: float) -> list[Any]:
        found = super().events(timeout)
        for event in found:
            if isinstance(event, Ended) and len(self.trials.ended) < len(self.trials.submitted):
                self.trials.ended.append((time.perf_counter(), event.result["seconds"]))
        return found


def measure(dataset: str, trials: int, epochs: int, watching: Trials) -> float:
    """Median seconds of a trial beside training and evaluation; prints where they go."""
    search = Search(trials=trials, epochs=epochs)
    study = Study("trial", "", "", "search", (Arm("lfnn_l"),), (dataset,), seeds=1, search=search)
    known = registry()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        home.prepare()
        with Writer(home, metrics, print) as writer:
            runner = Runner(plan(study, known), home, known, writer, Quiet())
            for times in watching.spent.values():
                times.clear()
            watching.submitted.clear()
            watching.ended.clear()
            with Watched(watching, home, ["cpu"], threads=1) as pool:
                runner.run(pool)
    ends = [end for end, _ in watching.ended]
    clocks = [seconds for _, seconds in watching.ended]
    counted = range(1, len(ends))
    inside = [clocks[i]["training"] + clocks[i]["evaluation"] for i in counted]
    whole = [ends[i] - ends[i - 1] for i in counted]
    worker = [ends[i] - watching.submitted[i] for i in counted]
    other = [clocks[i]["other"] for i in counted]
    beside = [a - b for a, b in zip(whole, inside, strict=True)]
    in_worker = [a - b for a, b in zip(worker, inside, strict=True)]
    rows = {
        "training and evaluation": inside,
        "all else, end to end": beside,
        "  from submit to Ended": in_worker,
        "    looks, waits, checkpoint": other,
        "    resolve, build, files": [a - b for a, b in zip(in_worker, other, strict=True)],
    }
    print(f"\n{dataset}, {epochs} epochs, {len(whole)} trials")
    for name, seconds in rows.items():
        print(f"{name:30} median {statistics.median(seconds):.3f} s")
    for name, seconds in watching.spent.items():
        print(f"  driver: {name:20} {sum(seconds) / trials:.3f} s a trial, {len(seconds)} calls")
    return statistics.median(beside)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=21)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--datasets", default="digits,mnist")
    arguments = parser.parse_args()
    print(machine())
    watching, met = Trials(), True
    for dataset in arguments.datasets.split(","):
        seconds = measure(dataset, arguments.trials, arguments.epochs, watching)
        met &= verdict(f"a trial on {dataset} beside its training, s", seconds, BAR)
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
