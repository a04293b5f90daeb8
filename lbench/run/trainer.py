"""The loop: phases, epochs and steps; evaluation, checkpoints and an end that tells its reason."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from lbench.auditing.schedule import StepPosition
from lbench.data.loader import Batches, DeviceData
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.rule import Rule
from lbench.run import checkpoint
from lbench.run.clock import Clock
from lbench.run.evaluate import autocast, evaluate
from lbench.run.glances import Glances
from lbench.run.memory import Peak
from lbench.run.optim import Update
from lbench.run.pace import Pace
from lbench.run.plan import Plan
from lbench.run.probing import Probes
from lbench.run.schedule import factor
from lbench.run.step_flops import StepFlops
from lbench.run.step_memory import StepMemory
from lbench.rundir import RunDir, without_nan
from lbench.step import Step
from lbench.task import Batch

LOOK_EVERY = 25
"""Steps between two looks at the loss, the time and the stop flag: a look may sync the device."""


INTERRUPTED = "interrupted"
"""Why a run stops that is to go on another time; any other reason is a pruner's."""


class Reporter(Protocol):
    """Who is told how a run goes on."""

    def plan(self, steps: int, per_epoch: int) -> None:
        """How many steps there are, in all and in an epoch."""

    def step(self, done: int, loss: float) -> None:
        """``done`` steps of the run are behind us; the latest loss."""

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch ended; its line of the journal."""

    def asked(self) -> str | None:
        """Why the run is to stop: :data:`INTERRUPTED`, or a pruner's sentence; None for going on.

        Asked before the first step, at every look and after every epoch.
        """

    def note(self, text: str) -> None:
        """Something that the user should know."""

    def close(self) -> None:
        """The run has ended."""


class DivergedError(Exception):
    """A loss became NaN or infinite.

    Args:
        step: the first such step, from 1.
        value: the loss there.
        what: whose loss, for the message.
    """

    def __init__(self, step: int, value: float, what: str = "loss") -> None:
        super().__init__(f"{what} {value} at step {step}")


class StoppedError(Exception):
    """The run was asked to stop, for the reason that is its text; its checkpoint is written."""


@dataclass
class Reads:
    """How often a run has read the test set."""

    count: int = 0


@dataclass
class Best:
    """The epoch of lowest validation error so far, with its weights."""

    error: float
    epoch: int
    weights: dict[str, Tensor]


class Trainer:
    """Trains a rule by a plan, in a run directory.

    Args:
        rule: on its device.
        batches: training batches, addressed by epoch and position.
        validation: held-out examples, or None under the paper protocol.
        recipe: of the run.
        plan: of the run.
        randomness: of the run.
        run_dir: locked by the caller.
        reporter: told how it goes on.
        precision: ``fp32`` or ``bf16``.
        checkpoint_every: seconds between checkpoints.
        glances: looks at some steps before they are made; None for none.
        peak: of the run's memory.
        probes: look at the run and change nothing; None for none.
        reads: counted by whoever lets a probe see the test set.
    """

    def __init__(
        self,
        rule: Rule,
        batches: Batches,
        validation: DeviceData | None,
        recipe: Recipe,
        plan: Plan,
        randomness: Randomness,
        run_dir: RunDir,
        reporter: Reporter,
        *,
        precision: str = "fp32",
        checkpoint_every: float = 30.0,
        glances: Glances | None = None,
        peak: Peak | None = None,
        probes: Probes | None = None,
        reads: Reads | None = None,
    ) -> None:
        self.rule = rule
        self.batches = batches
        self.validation = validation
        self.recipe = recipe
        self.plan = plan
        self.randomness = randomness
        self.run_dir = run_dir
        self.reporter = reporter
        self.precision = precision
        self.checkpoint_every = checkpoint_every
        self.glances = glances
        self.device = batches.data.device
        self.clock = Clock(self.device)
        self.peak = peak or Peak(self.device)
        self.step_memory = StepMemory()
        self.step_flops = StepFlops()
        groups = [group for group in rule.groups() if group.params]
        self.updates = {group.name: Update(group, recipe) for group in groups}
        self.probes = probes
        self.reads = reads or Reads()
        if probes is None:
            rule.attach(self.updates)
        else:
            probes.attach(self.updates, self._aside)
        self.stop: str | None = None
        self.index = 0
        self.best: Best | None = None
        self._losses = torch.zeros(plan.per_epoch, device=self.device)
        self._sums: dict[str, Tensor] = {}
        self._saved = 0
        self._last_save = time.monotonic()
        self.pace = Pace()
        self._looked = 0.0, 0.0

    def train(self) -> None:
        """Goes on from the newest checkpoint, or from the start, to the end.

        Raises:
            DivergedError: the loss became NaN or infinite.
            StoppedError: there was a reason to stop before the end; a checkpoint is written.
        """
        self._resume()
        self.reporter.plan(self.plan.steps, self.plan.typical)
        self.rule.train()
        self._ask()
        while self.index < self.plan.steps and self.stop is None:
            with self.clock.measure("training"):
                self._stretch()
            if self.index == self.plan.steps or self.plan.place(self.index)[1] == 0:
                self._end_epoch()
                self._ask()
            if self.stop is None and self._save_due():
                self.save()
        self.save()  # whatever stops us while the test set is read, training is not repeated
        if self.stop is not None and self.index < self.plan.steps:
            raise StoppedError(self.stop)

    def _stretch(self) -> None:
        """Steps to the end of the epoch or of the plan, or until something is to be done."""
        epoch, position = self.plan.place(self.index)
        count = self.plan.count(epoch)
        looked = position
        with autocast(self.device, self.precision):
            while position < count:
                self._step(epoch, position, last=position == count - 1)
                position += 1
                self.index += 1
                if position - looked >= LOOK_EVERY or position == count or self.stop:
                    self._look(looked, position)
                    looked = position
                    if self.stop or self._save_due():
                        return

    def _step(self, epoch: int, position: int, *, last: bool) -> None:
        phase, start, count = self.plan.phase(self.index)
        lr = self.recipe.lr * factor(self.recipe, self.index - start, count)
        for update in self.updates.values():
            update.rate(lr)
        s = Step(self.randomness, self.index, epoch, phase=phase, last=last, device=self.device)
        rule = self.rule
        batch = Batch(*self.batches.batch(epoch, position))
        if self.glances is not None and self.glances.due(self.index):
            with self._aside():
                step_position = StepPosition(self.index, epoch, last)
                self.glances.look(rule, batch, step_position, phase, self.reporter.note)
        if self.probes is not None:
            self.probes.before_step(batch, s)
        watched = self.step_memory.due(self.index - start, count)
        with self._watched() if watched else contextlib.nullcontext():
            rule.step(rule.prepare(batch, s), s)
            rule.after_step(s)
        if self.probes is not None:
            self.probes.after_step(batch, s)
        if "loss" not in s.logs:
            raise RuntimeError(f"{type(rule).__name__} logs no loss: s.log('loss', …) in its step")
        sums = self._sums
        for name, value in s.logs.items():
            if name == "loss":
                self._losses[position] = value
            elif name in sums:
                sums[name] += value
            else:
                sums[name] = value.clone()

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        """What is done inside counts as nobody's time, memory or operations."""
        with self.clock.paused(), self.peak.aside(), _disable_current_modes():
            yield

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        with self.step_memory.watched(), self.step_flops.watched():
            yield

    def _look(self, looked: int, position: int) -> None:
        """Is the loss finite? Tells how far we are."""
        losses = self._losses[looked:position]
        finite = torch.isfinite(losses)
        if not bool(finite.all()):
            first = int(finite.long().argmin())
            step = self.index - position + looked + first + 1
            raise DivergedError(step, losses[first].item())
        self._time(position - looked)
        self.reporter.step(self.index, losses[-1].item())
        self._ask()

    def _time(self, steps: int) -> None:
        """Count the time of the steps since the last look."""
        seconds, core = self.clock.seconds()["training"], self.clock.core()
        before, core_before = self._looked
        self._looked = seconds, core or 0.0
        phase = self.plan.phase(self.index - 1)[0].name
        self.pace.add(phase, steps, seconds - before, None if core is None else core - core_before)

    def _ask(self) -> None:
        if self.stop is None:
            self.stop = self.reporter.asked()

    def _save_due(self) -> bool:
        return time.monotonic() - self._last_save >= self.checkpoint_every

    def _end_epoch(self) -> None:
        """Evaluates, remembers the best weights, and writes the epoch's line."""
        epoch, position = self.plan.place(self.index - 1)
        steps, number = position + 1, epoch + 1
        error = loss = None
        if self.validation is not None:
            with self.clock.measure("evaluation"):
                result = evaluate(self.rule, self.validation, self.precision)
                error, loss = result.error, result.loss
                if not result.finite:
                    raise DivergedError(self.index, loss, "validation loss")
                if self.best is None or error < self.best.error:
                    weights = {k: v.detach().clone() for k, v in self.rule.state_dict().items()}
                    self.best = Best(error, number, weights)
        phase, start, count = self.plan.phase(self.index - 1)
        row: dict[str, Any] = {
            "epoch": number,
            "step": self.index,
            "phase": phase.name,
            "lr": self.recipe.lr * factor(self.recipe, self.index - 1 - start, count),
            "train_loss": self._losses[:steps].double().mean().item(),
            "val_loss": loss,
            "val_error": error,
            **{name: self._sums[name].tolist() for name in sorted(self._sums)},
        }
        self._sums = {}
        row["seconds"] = self.clock.seconds()
        with self.run_dir.journal.open("a") as file:
            file.write(json.dumps(without_nan(row), allow_nan=False) + "\n")
        self.reporter.epoch(row)
        if self.probes is not None:
            self.probes.epoch_end(number, self.index)

    def save(self) -> None:
        """Writes a checkpoint of everything that the rest of the run depends on."""
        journal = self.run_dir.journal
        if journal.exists():
            with journal.open("rb") as file:
                os.fsync(file.fileno())
        best = self.best
        state = {
            "index": self.index,
            "rule": self.rule.state_dict(),
            "updates": {name: update.state_dict() for name, update in self.updates.items()},
            "losses": self._losses,
            "sums": self._sums,
            "best": None if best is None else [best.error, best.epoch, best.weights],
            "seconds": self.clock.seconds(),
            "glances": [] if self.glances is None else self.glances.as_list(),
            "files_opened": [] if self.glances is None else self.glances.opened,
            "step_memory_mib": self.step_memory.mib,
            "step_flops": self.step_flops.flops,
            "probes": {} if self.probes is None else self.probes.save(),
            "test_reads": self.reads.count,
            "journal": journal.stat().st_size if journal.exists() else 0,
        }
        checkpoint.save(self.run_dir.path, self._saved, state)
        self._saved += 1
        self._last_save = time.monotonic()

    def _resume(self) -> None:
        """Go on from the last checkpoint, or begin where there is none."""
        state = self._checkpoint()
        if self.probes is not None:
            self.probes.restore({} if state is None else state["probes"])
        journal = self.run_dir.journal
        if state is None:
            journal.unlink(missing_ok=True)
            checkpoint.clear(self.run_dir.path)
            return
        self._restore(state)
        if journal.exists():
            # Lines behind the checkpoint will be written again.
            os.truncate(journal, state["journal"])
        if self.index >= self.plan.steps:
            self.reporter.note("Goes on from its checkpoint at the end of training.")
            return
        epoch, position = self.plan.place(self.index)
        where = f"step {position} of epoch {epoch + 1}" if position else f"epoch {epoch + 1}"
        self.reporter.note(f"Goes on from its checkpoint at {where}.")

    def _checkpoint(self) -> dict[str, Any] | None:
        """What the last checkpoint holds; None, with a note, where a run cannot go on from it."""
        state, damaged = checkpoint.load(self.run_dir.path)
        for problem in damaged:
            self.reporter.note(problem)
        if state is None:
            return None
        journal = self.run_dir.journal
        length = journal.stat().st_size if journal.exists() else 0
        if length < state["journal"]:
            self.reporter.note(f"{journal} lacks lines that its checkpoint has: starting again.")
            return None
        if self.probes is not None:
            # Checkpoints of older versions have none.
            lacking = self.probes.lacking(state.get("probes", {}))
            if lacking is not None:
                self.reporter.note(f"{lacking}: starting again.")
                return None
        return state

    def _restore(self, state: dict[str, Any]) -> None:
        """Take over everything but the probes from a checkpoint."""
        self.index = state["index"]
        self._saved = state["number"] + 1
        self.rule.load_state_dict(state["rule"])
        for name, update in self.updates.items():
            update.load_state_dict(state["updates"][name])
        self._losses.copy_(state["losses"])
        self._sums = {name: value.to(self.device) for name, value in state["sums"].items()}
        if state["best"] is not None:
            error, epoch, weights = state["best"]
            self.best = Best(error, epoch, {k: v.to(self.device) for k, v in weights.items()})
        self.clock.restore(state["seconds"])
        self._looked = self.clock.seconds()["training"], 0.0
        if self.glances is not None:
            # Checkpoints of older versions have none.
            self.glances.restore(state.get("glances", []), state.get("files_opened", []))
        self.reads.count = state.get("test_reads", 0)
        self.step_memory = StepMemory(state.get("step_memory_mib"))
        self.step_flops = StepFlops(state.get("step_flops"))
