"""Cost of a trial of a search beside its training, on a warm worker process.

Claim: from the end of one trial to the end of the next, everything but training and evaluation
takes at most 0.3 s: asking Optuna, resolving and building the run, auditing three steps, answering
the pruner, writing the run directory, reporting to Optuna, recording the run in the store and
publishing it in MLflow. The measurement is a real search of ``lfnn_l`` with one worker process on
one thread; its first trial, in a new worker process, does not count.

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
from lbench.studies.definition import Arm, Search, Study
from lbench.studies.plan import plan
from lbench.studies.runner import Runner
from lbench.studies.search import OptunaSearch

BAR = 0.3
DRIVER = {
    "ask": (OptunaSearch, "next"),
    "report": (OptunaSearch, "report_epoch"),
    "tell": (OptunaSearch, "end_run"),
    "join": (Writer, "join"),
    "take": (Writer, "take"),
    "publish": (Writer, "publish"),
}
"""Methods of the driver that are timed, by name."""


class Quiet:
    """A display that shows nothing."""

    def search(self, key: str, ended: int, wanted: int, best: float | None) -> None: ...
    def final(self, key: str, ended: int, wanted: int) -> None: ...
    def run(self, name: str, done: int, steps: int, left: float | None = None) -> None: ...
    def over(self, name: str) -> None: ...
    def note(self, text: str) -> None: ...


class Trials:
    """Times at which trials were submitted and ended, and the time spent in the driver."""

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


class TimedPool(Pool):
    """A pool that records when trials are submitted and when they end.

    Args:
        trials: receives the times.
    """

    def __init__(self, trials: Trials, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.trials = trials

    def submit(self, job: Any) -> None:
        if job.trial:
            self.trials.submitted.append(time.perf_counter())
        super().submit(job)

    def events(self, timeout: float) -> list[Any]:
        events = super().events(timeout)
        for event in events:
            if isinstance(event, Ended) and len(self.trials.ended) < len(self.trials.submitted):
                self.trials.ended.append((time.perf_counter(), event.result["seconds"]))
        return events


def measure(dataset: str, trials: int, epochs: int, times_of_trials: Trials) -> float:
    """Return the median seconds of a trial beside training and evaluation; print their parts."""
    search = Search(trials=trials, epochs=epochs)
    study = Study("trial", "", "", "search", (Arm("lfnn_l"),), (dataset,), seeds=1, search=search)
    known = registry()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        home.prepare()
        with Writer(home, print) as writer:
            runner = Runner(plan(study, known), home, known, writer, Quiet())
            for times in times_of_trials.spent.values():
                times.clear()
            times_of_trials.submitted.clear()
            times_of_trials.ended.clear()
            with TimedPool(times_of_trials, home, ["cpu"], threads=1) as pool:
                runner.run(pool)
    ends = [end for end, _ in times_of_trials.ended]
    clocks = [seconds for _, seconds in times_of_trials.ended]
    counted = range(1, len(ends))
    inside = [clocks[i]["training"] + clocks[i]["evaluation"] for i in counted]
    whole = [ends[i] - ends[i - 1] for i in counted]
    worker = [ends[i] - times_of_trials.submitted[i] for i in counted]
    other = [clocks[i]["other"] for i in counted]
    beside = [a - b for a, b in zip(whole, inside, strict=True)]
    in_worker = [a - b for a, b in zip(worker, inside, strict=True)]
    rows = {
        "training and evaluation": inside,
        "all else, end to end": beside,
        "  from submit to Ended": in_worker,
        "    audits, waits, checkpoint": other,
        "    resolve, build, files": [a - b for a, b in zip(in_worker, other, strict=True)],
    }
    print(f"\n{dataset}, {epochs} epochs, {len(whole)} trials")
    for name, seconds in rows.items():
        print(f"{name:30} median {statistics.median(seconds):.3f} s")
    for name, seconds in times_of_trials.spent.items():
        print(f"  driver: {name:20} {sum(seconds) / trials:.3f} s per trial, {len(seconds)} calls")
    return statistics.median(beside)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=21)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--datasets", default="digits,mnist")
    arguments = parser.parse_args()
    print(machine())
    times_of_trials, met = Trials(), True
    for dataset in arguments.datasets.split(","):
        seconds = measure(dataset, arguments.trials, arguments.epochs, times_of_trials)
        met &= verdict(f"a trial on {dataset} beside its training, s", seconds, BAR)
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
