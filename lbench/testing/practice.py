"""Checks by real runs on digits: the rule learns, and it resumes in another process."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from lbench.errors import UsageError
from lbench.execute.driver import RunOutcome, run_cell
from lbench.home import Home
from lbench.registry import Registry, registry
from lbench.rule import Rule
from lbench.rundir import RunDir
from lbench.testing.subject import FailedError, SkippedError, Subject, differing, listed, networks
from lbench.training import checkpoint
from lbench.training.forecast import TimeEstimate
from lbench.training.job import Machine
from lbench.training.resolve import Request, Resolved, resolve
from lbench.training.weights import BEST, LAST, read_weights

FEW, MANY = 4, 12
"""Epochs of digits in which a rule learns: most rules need few, some need many."""
CHANCE = 80.0
"""Largest test error in percent; guessing has 90 ± 1.6 on the 360 test digits."""
KILLED_AT = 4
"""Number of the loss report at which the run is killed; the third one has left a checkpoint."""
CHILD = "from lbench.testing.practice import resume; resume()"
NETS = {net.label: net for net in networks(60)}


class SilentReporter:
    """A reporter that prints nothing, and may end the run as a kill would.

    Args:
        killed_at: number of the loss report at which the run ends; None for never.
    """

    def __init__(self, killed_at: int | None = None) -> None:
        self.killed_at = killed_at
        self.reports = 0
        self.first: int | None = None

    def plan(self, steps: int, per_epoch: int) -> None:
        """Do nothing."""

    def step(self, done: int, loss: float) -> None:
        """Store the step of the first loss report; raise KilledError at report ``killed_at``."""
        self.reports += 1
        self.first = done if self.first is None else self.first
        if self.reports == self.killed_at:
            raise KilledError

    def expect(self, estimate: TimeEstimate) -> None:
        """Do nothing."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Do nothing."""

    def stop_reason(self) -> str | None:
        """Return None: the run continues."""
        return None

    def note(self, text: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class KilledError(BaseException):
    """Ends a run in the middle without the usual handling of errors."""


class _OneRule(Registry):
    """The installed networks and datasets, and one rule, which need not be installed.

    Args:
        rule: the class that is loaded for every name of a rule.
    """

    def __init__(self, rule: type[Rule]) -> None:
        known = registry()
        super().__init__(
            networks=known.networks,
            datasets=known.datasets,
            sequences=known.sequences,
            owners=known.owners,
        )
        self.rule = rule

    def load(self, kind: str, name: str) -> Any:
        """Return the rule's class, or an installed class of another kind."""
        return self.rule if kind == "rules" else super().load(kind, name)


def learns(subject: Subject) -> str:
    """Check that on digits the loss of every phase falls and the test error is below chance."""
    if subject.quick:
        with contextlib.suppress(FailedError):
            return _learns(subject, FEW)
    return _learns(subject, MANY)


def _learns(subject: Subject, epochs: int) -> str:
    """Run :func:`learns` with this number of epochs.

    Raises:
        FailedError: the rule does not learn in them, or a phase is too short for the loss to fall.
    """
    with tempfile.TemporaryDirectory() as folder:
        outcome = _run(_resolved(subject, epochs, "paper"), Path(folder), SilentReporter())
        rows = _epoch_log(outcome.run_dir)
    result = outcome.result
    if result["status"] != "finished":
        raise FailedError(f"a run of {epochs} epochs of digits {_ended(result)}")
    phases: dict[str, list[float]] = {}
    for row in rows:
        phases.setdefault(row["phase"], []).append(row["train_loss"])
    for phase, losses in phases.items():
        if len(losses) > 1 and not losses[-1] < losses[0]:
            raise FailedError(
                f"in phase {phase} the loss goes from {losses[0]:.4g} to {losses[-1]:.4g}"
            )
        if len(losses) == 1 and epochs == FEW:
            raise FailedError(f"phase {phase} has one of {epochs} epochs")
    error = result["test_error"]
    if not error <= CHANCE:
        raise FailedError(
            f"after {epochs} epochs of digits the test error is {error:.1f} %, not below "
            f"{CHANCE:g} %; the error of guessing is 90 %"
        )
    return f"{error:.1f} % test error after {epochs} epochs of digits"


def resumes_in_a_new_process(subject: Subject) -> str:
    """Check that a run that is killed and resumed by a new process ends bit for bit the same."""
    if subject.cls.__module__ == "__main__" or "<locals>" in subject.cls.__qualname__:
        raise SkippedError(f"a new process cannot import {subject.cls.__qualname__}")
    epochs = 2 if subject.quick else 3
    resolved = _resolved(subject, epochs, "strict")
    with tempfile.TemporaryDirectory() as folder, _child(_job(subject, epochs)) as child:
        straight = _run(resolved, Path(folder, "straight"), SilentReporter())
        if straight.result["status"] != "finished":
            raise FailedError(f"a run of digits {_ended(straight.result)}")
        killed = Path(folder, "killed")
        with contextlib.suppress(KilledError):
            _run(resolved, killed, SilentReporter(KILLED_AT))
        (run_dir,) = killed.glob("runs/*/*")
        state, _ = checkpoint.load(run_dir)
        if state is None:
            raise FailedError("no checkpoint can be read: the rule's state needs pickled code")
        output, errors = child.communicate(json.dumps({"home": str(killed)}))
        if child.returncode:
            raise FailedError(f"the new process ended with: {errors.strip().splitlines()[-1]}")
        answer = json.loads(output)
        if answer["result"]["status"] != "finished":
            raise FailedError(f"the resumed run {_ended(answer['result'])}")
        if Path(answer["run_dir"]) != run_dir or answer["first"] <= state["index"]:
            raise FailedError("the new process does not continue from the checkpoint")
        _same_ending(straight.run_dir, run_dir, state["index"])
        fields = ("train_error", "val_error", "test_error", "test_loss", "steps")
        if names := differing(
            {name: straight.result[name] for name in fields},
            {name: answer["result"][name] for name in fields},
        ):
            raise FailedError(f"the resumed run ends with another {listed(names)}")
        _same_epoch_log(straight.run_dir, run_dir)
    return f"from step {state['index']} of {answer['result']['steps']}"


def _same_ending(straight: Path, resumed: Path, index: int) -> None:
    """Check that the resumed run has the final weights of the run that was not stopped.

    Raises:
        FailedError: it has others.
    """
    for name in (LAST, BEST):
        states = [read_weights(run / name) for run in (straight, resumed)]
        if names := differing(*states):
            raise FailedError(
                f"resumed at step {index}, the run ends with another {listed(names)}: "
                "state outside parameters and buffers is lost"
            )


def _same_epoch_log(straight: Path, resumed: Path) -> None:
    """Check that the epoch logs of both runs have the same rows.

    Raises:
        FailedError: a row differs.
    """
    for one, other in zip(_epoch_log(straight), _epoch_log(resumed), strict=True):
        if names := differing(one, other):
            where = f"epoch {one['epoch']} of the resumed run"
            raise FailedError(f"{where} has another {listed(names)} in its epoch log")


def resume() -> None:
    """Resume a run in the new process, and print the outcome as JSON.

    Standard input has two lines of JSON: the job, so that the process can prepare while the first
    run trains, and then the home with the run.
    """
    job = json.loads(sys.stdin.readline())
    cls = _imported(job["module"], job["file"], job["class"])
    subject = Subject(cls, job["options"])
    subject.name = job["name"]
    resolved = _resolved(subject, job["epochs"], "strict")
    home = json.loads(sys.stdin.readline())["home"]
    reporter = SilentReporter()
    outcome = _run(resolved, Path(home), reporter)
    answer = {
        "run_dir": str(outcome.run_dir),
        "first": reporter.first or 0,
        "result": outcome.result,
    }
    sys.stdout.write(json.dumps(answer))


def _job(subject: Subject, epochs: int) -> str:
    """Return the first line that :func:`resume` reads: the rule and the length of the run."""
    job = {
        "name": subject.name,
        "module": subject.cls.__module__,
        "class": subject.cls.__qualname__,
        "file": inspect.getfile(subject.cls),
        "options": subject.options,
        "epochs": epochs,
    }
    return json.dumps(job) + "\n"


@contextlib.contextmanager
def _child(job: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process that prepares to resume while the caller trains; end it after the context."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdin is not None
    try:
        process.stdin.write(job)
        process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _imported(module: str, file: str, name: str) -> type[Rule]:
    """Return the class from its module or, if that cannot be imported by name, from its file."""
    try:
        imported = importlib.import_module(module)
    except ImportError:
        spec = importlib.util.spec_from_file_location(module, file)
        if spec is None or spec.loader is None:
            raise
        imported = importlib.util.module_from_spec(spec)
        sys.modules[module] = imported
        spec.loader.exec_module(imported)
    cls: Any = imported
    for part in name.split("."):
        cls = getattr(cls, part)
    checked: type[Rule] = cls
    return checked


def _resolved(subject: Subject, epochs: int, protocol: str) -> Resolved:
    """Return a run on digits, with the first network that the rule builds on.

    Raises:
        SkippedError: the rule refuses all networks.
    """
    refusals = []
    for label in dict.fromkeys([*(net.label for net in subject.nets), *NETS]):
        request = Request(
            rule=subject.name,
            dataset="digits",
            config=subject.options,
            network=label,
            network_options=NETS[label].spec.model_dump(),
            protocol=protocol,
            epochs=epochs,
        )
        try:
            return resolve(request, _OneRule(subject.cls))
        except UsageError as refusal:
            refusals.append(refusal.message)
    raise SkippedError(f"the rule refuses digits on every network: {refusals[0]}")


def _run(resolved: Resolved, home: Path, reporter: SilentReporter) -> RunOutcome:
    """Run one seed on one thread; a run that will be killed has a checkpoint per loss report."""
    threads = torch.get_num_threads()
    every = math.inf if reporter.killed_at is None else 0.0
    # Another check audits the rule's steps.
    machine = Machine(torch.device("cpu"), threads=1, checkpoint_every=every, audit=False)
    try:
        (outcome,) = run_cell(resolved, [0], Home(home), machine, lambda seed: reporter, None)
    finally:
        torch.set_num_threads(threads)
    return outcome


def _epoch_log(run_dir: Path) -> list[dict[str, Any]]:
    """Return the rows of a run's epoch log, without times."""
    rows = RunDir(run_dir).epochs()
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def _ended(result: dict[str, Any]) -> str:
    return f"ends as {result['status']}: {result['reason']}"
