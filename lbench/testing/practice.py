"""Checks by real runs on digits: the rule learns with its own recipe, and resumes elsewhere."""

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
from lbench.execute.driver import Outcome, run_cell
from lbench.home import Home
from lbench.registry import Registry, registry
from lbench.rule import Rule
from lbench.run import checkpoint
from lbench.run.job import Machine
from lbench.run.resolve import Request, Resolved, resolve
from lbench.run.weights import BEST, LAST, read_weights
from lbench.rundir import RunDir
from lbench.testing.subject import FailedError, SkippedError, Subject, differing, listed, networks

FEW, MANY = 4, 12
"""Epochs of digits in which a rule learns: most need few, some need many."""
CHANCE = 80.0
"""Percent: of 360 test digits, guessing gets 90 ± 1.6 wrong."""
TORN_AT = 4
"""The look at the loss at which the run is torn away: the checkpoint of the third one is left."""
CHILD = "from lbench.testing.practice import resume; resume()"
NETS = {net.label: net for net in networks(60)}


class Quiet:
    """A reporter that tells nobody, and may tear the run away.

    Args:
        torn_at: the look at the loss that ends the process as a kill would; None for none.
    """

    def __init__(self, torn_at: int | None = None) -> None:
        self.torn_at = torn_at
        self.looks = 0
        self.first: int | None = None

    def plan(self, steps: int, per_epoch: int) -> None:
        """Nobody asks."""

    def step(self, done: int, loss: float) -> None:
        """Remembers the first look, and tears the run away at its time."""
        self.looks += 1
        self.first = done if self.first is None else self.first
        if self.looks == self.torn_at:
            raise TornError

    def epoch(self, row: dict[str, Any]) -> None:
        """Nobody asks."""

    def asked(self) -> str | None:
        """Goes on."""
        return None

    def note(self, text: str) -> None:
        """Nobody asks."""

    def close(self) -> None:
        """Nothing is open."""


class TornError(BaseException):
    """Ends a run in the middle, past everything that would end it well."""


class _Alone(Registry):
    """What is installed, but for one rule, which need not be.

    Args:
        rule: its class, whatever its name.
    """

    def __init__(self, rule: type[Rule]) -> None:
        known = registry()
        super().__init__(networks=known.networks, datasets=known.datasets, owners=known.owners)
        self.rule = rule

    def load(self, kind: str, name: str) -> Any:
        """The rule; what is installed, of another kind."""
        return self.rule if kind == "rules" else super().load(kind, name)


def learns(subject: Subject) -> str:
    """On digits, with its own recipe, the loss falls in every phase and chance is beaten."""
    if subject.quick:
        with contextlib.suppress(FailedError):
            return _learns(subject, FEW)
    return _learns(subject, MANY)


def _learns(subject: Subject, epochs: int) -> str:
    """What :func:`learns` says of a run of so many epochs.

    Raises:
        FailedError: the rule does not learn in them, or a phase is too short to tell.
    """
    with tempfile.TemporaryDirectory() as folder:
        outcome = _run(_resolved(subject, epochs, "paper"), Path(folder), Quiet())
        rows = _journal(outcome.run_dir)
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
            raise FailedError(f"phase {phase} has a single epoch of {epochs}")
    error = result["test_error"]
    if not error <= CHANCE:
        raise FailedError(
            f"after {epochs} epochs of digits the test error is {error:.1f} %, not below "
            f"{CHANCE:g} %; guessing has 90 %"
        )
    return f"{error:.1f} % test error after {epochs} epochs of digits"


def resumes_in_a_new_process(subject: Subject) -> str:
    """A run torn away inside an epoch and resumed by a new process ends bit for bit the same."""
    if subject.cls.__module__ == "__main__" or "<locals>" in subject.cls.__qualname__:
        raise SkippedError(f"a new process cannot import {subject.cls.__qualname__}")
    epochs = 2 if subject.quick else 3
    resolved = _resolved(subject, epochs, "strict")
    with tempfile.TemporaryDirectory() as folder, _child(_asked(subject, epochs)) as child:
        straight = _run(resolved, Path(folder, "straight"), Quiet())
        if straight.result["status"] != "finished":
            raise FailedError(f"a run of digits {_ended(straight.result)}")
        torn = Path(folder, "torn")
        with contextlib.suppress(TornError):
            _run(resolved, torn, Quiet(TORN_AT))
        (run_dir,) = torn.glob("runs/*/*")
        state, _ = checkpoint.load(run_dir)
        if state is None:
            raise FailedError("no checkpoint can be read back: its state needs pickled code")
        said, problem = child.communicate(json.dumps({"home": str(torn)}))
        if child.returncode:
            raise FailedError(f"the new process ended with: {problem.strip().splitlines()[-1]}")
        answer = json.loads(said)
        if answer["result"]["status"] != "finished":
            raise FailedError(f"the resumed run {_ended(answer['result'])}")
        if Path(answer["run_dir"]) != run_dir or answer["first"] <= state["index"]:
            raise FailedError("the new process does not go on from the checkpoint")
        _same_ending(straight.run_dir, run_dir, state["index"])
        errors = ("train_error", "val_error", "test_error", "test_loss", "steps")
        if names := differing(
            {name: straight.result[name] for name in errors},
            {name: answer["result"][name] for name in errors},
        ):
            raise FailedError(f"the resumed run ends with another {listed(names)}")
        _same_journal(straight.run_dir, run_dir)
    return f"from step {state['index']} of {answer['result']['steps']}"


def _same_ending(straight: Path, resumed: Path, index: int) -> None:
    """That a run which was resumed at a step ends with the weights of one that was not stopped.

    Raises:
        FailedError: it does not.
    """
    for name in (LAST, BEST):
        states = [read_weights(each / name) for each in (straight, resumed)]
        if names := differing(*states):
            raise FailedError(
                f"resumed at step {index}, the run ends with another {listed(names)}: "
                "state outside parameters and buffers is lost"
            )


def _same_journal(straight: Path, resumed: Path) -> None:
    """That both runs have written the same lines.

    Raises:
        FailedError: they have not.
    """
    for one, other in zip(_journal(straight), _journal(resumed), strict=True):
        if names := differing(one, other):
            where = f"epoch {one['epoch']} of the resumed run"
            raise FailedError(f"{where} has another {listed(names)} in its journal")


def resume() -> None:
    """What the new process does: reads what it shall resume, waits for the word, and reports."""
    asked = json.loads(sys.stdin.readline())
    cls = _imported(asked["module"], asked["file"], asked["class"])
    subject = Subject(cls, asked["options"])
    subject.name = asked["name"]
    resolved = _resolved(subject, asked["epochs"], "strict")
    home = json.loads(sys.stdin.readline())["home"]
    reporter = Quiet()
    outcome = _run(resolved, Path(home), reporter)
    answer = {
        "run_dir": str(outcome.run_dir),
        "first": reporter.first or 0,
        "result": outcome.result,
    }
    sys.stdout.write(json.dumps(answer))


def _asked(subject: Subject, epochs: int) -> str:
    """The first line that :func:`resume` reads: which rule it shall resume, in a run how long."""
    asked = {
        "name": subject.name,
        "module": subject.cls.__module__,
        "class": subject.cls.__qualname__,
        "file": inspect.getfile(subject.cls),
        "options": subject.options,
        "epochs": epochs,
    }
    return json.dumps(asked) + "\n"


@contextlib.contextmanager
def _child(asked: str) -> Iterator[subprocess.Popen[str]]:
    """A process that gets ready to resume while the caller trains."""
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
        process.stdin.write(asked)
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
    """The class, from its module or, where that lies on no path, from its file."""
    try:
        found = importlib.import_module(module)
    except ImportError:
        spec = importlib.util.spec_from_file_location(module, file)
        if spec is None or spec.loader is None:
            raise
        found = importlib.util.module_from_spec(spec)
        sys.modules[module] = found
        spec.loader.exec_module(found)
    cls: Any = found
    for part in name.split("."):
        cls = getattr(cls, part)
    checked: type[Rule] = cls
    return checked


def _resolved(subject: Subject, epochs: int, protocol: str) -> Resolved:
    """A run on digits, on the first network that the rule builds on.

    Raises:
        SkippedError: it refuses all of them.
    """
    refusals = []
    for label in dict.fromkeys([*(net.label for net in subject.places), *NETS]):
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
            return resolve(request, _Alone(subject.cls))
        except UsageError as refusal:
            refusals.append(refusal.message)
    raise SkippedError(f"refuses digits on every network: {refusals[0]}")


def _run(resolved: Resolved, home: Path, reporter: Quiet) -> Outcome:
    """One seed, on one thread; one that will be torn away has a checkpoint at every look."""
    threads = torch.get_num_threads()
    every = math.inf if reporter.torn_at is None else 0.0
    # What its steps do is the business of another check.
    machine = Machine(torch.device("cpu"), threads=1, checkpoint_every=every, audited=False)
    try:
        (outcome,) = run_cell(resolved, [0], Home(home), machine, lambda seed: reporter, None)
    finally:
        torch.set_num_threads(threads)
    return outcome


def _journal(run_dir: Path) -> list[dict[str, Any]]:
    """The epochs of a run, without its clocks."""
    rows = RunDir(run_dir).epochs()
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def _ended(result: dict[str, Any]) -> str:
    return f"ends as {result['status']}: {result['reason']}"
