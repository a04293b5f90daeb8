"""The training loop: phases, epochs and steps, with evaluation and checkpoints."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from lbench.auditing.schedule import StepPosition
from lbench.rule import Rule
from lbench.rundir import without_nan
from lbench.step import Step
from lbench.task import Batch
from lbench.training import checkpoint
from lbench.training.clock import Clock
from lbench.training.evaluation import autocast, evaluate, prediction_seconds
from lbench.training.forecast import Forecast
from lbench.training.memory import Peak
from lbench.training.microbatch import Microbatches
from lbench.training.optim import Update
from lbench.training.pace import Pace
from lbench.training.schedule import factor
from lbench.training.step_flops import StepFlops
from lbench.training.step_memory import StepMemory
from lbench.training.trainer_parts import Interval, Monitors, Output, Procedure, TrainingData

CHECK_EVERY = 25
"""Steps between two checks of the losses and the time; a check may sync the device."""
REPORT_EVERY = 1.0
"""Seconds after which the progress is reported and a stop is seen to, however few steps it was."""
QUICK = 10.0
"""Seconds of training that are left above which the speed of predictions is measured beforehand."""


class DivergedError(Exception):
    """A loss became NaN or infinite.

    Args:
        step: the first such step, from 1.
        value: the loss at that step.
        what: name of the loss, for the message.
    """

    def __init__(self, step: int, value: float, what: str = "loss") -> None:
        super().__init__(f"{what} {value} at step {step}")


class StoppedError(Exception):
    """The run was asked to stop, for the reason that is its text; its checkpoint is written."""


@dataclass
class Best:
    """The epoch with the lowest validation error so far, with its weights."""

    error: float
    epoch: int
    weights: dict[str, Tensor]


class Trainer:
    """The training of a rule by a plan, in a run directory.

    Args:
        rule: the rule, on its device.
        data: training batches and validation examples.
        procedure: recipe, plan, randomness and precision.
        output: run directory, reporter and interval of checkpoints.
        monitors: glances, probes and peak memory.
    """

    def __init__(
        self,
        rule: Rule,
        data: TrainingData,
        procedure: Procedure,
        output: Output,
        monitors: Monitors | None = None,
    ) -> None:
        monitors = monitors or Monitors()
        self.rule = rule
        self.batches, self.validation = data.batches, data.validation
        self.recipe, self.plan = procedure.recipe, procedure.plan
        self.randomness, self.precision = procedure.randomness, procedure.precision
        self.microbatches = Microbatches(procedure.microbatch or self.recipe.batch)
        self.run_dir, self.reporter = output.run_dir, output.reporter
        self.save_interval = Interval(output.checkpoint_every)
        self.device = self.batches.data.device
        self.glances, self.probes = monitors.glances, monitors.probes
        self.peak = monitors.peak or Peak(self.device)
        self.test_reads = monitors.test_reads
        validation = 0 if self.validation is None else len(self.validation)
        self.forecast = monitors.forecast or Forecast(self.plan, validation)
        self.clock = Clock(self.device)
        self.pace = Pace()
        self.step_memory = StepMemory()
        self.step_flops = StepFlops()
        groups = [group for group in rule.groups() if group.params]
        self.updates = {group.name: Update(group, self.recipe) for group in groups}
        if self.probes is None:
            rule.attach(self.updates)
        else:
            self.probes.attach(self.updates, self._uncounted)
        self.stop: str | None = None
        self.index = 0
        self.best: Best | None = None
        self._losses = torch.zeros(self.plan.per_epoch, device=self.device)
        self._sums: dict[str, Tensor] = {}
        self._saved = 0
        self._checked_at = 0.0, 0.0

    def train(self) -> None:
        """Train to the end, from the newest checkpoint or from the start.

        Raises:
            DivergedError: the loss became NaN or infinite.
            StoppedError: the run was asked to stop before the end; a checkpoint is written.
        """
        self._resume()
        self.reporter.plan(self.plan.steps, self.plan.typical)
        self.rule.train()
        self._update_stop()
        while self.index < self.plan.steps and self.stop is None:
            with self.clock.measure("training"):
                self._stretch()
            if self.index == self.plan.steps or self.plan.locate(self.index)[1] == 0:
                self._end_epoch()
                self._update_stop()
            if self.stop is None and self.save_interval.over():
                self.save()
        self.save()  # an interruption while the test set is read then repeats no training
        if self.stop is not None and self.index < self.plan.steps:
            raise StoppedError(self.stop)

    def _stretch(self) -> None:
        """Train until the epoch or the plan ends, the run stops, or a checkpoint is due."""
        epoch, position = self.plan.locate(self.index)
        count = self.plan.count(epoch)
        checked = position
        self.forecast.begin(self.index)
        with autocast(self.device, self.precision):
            while position < count:
                self._step(epoch, position, last=position == count - 1)
                position += 1
                self.index += 1
                due = position - checked >= CHECK_EVERY or position == count
                if not due and self.forecast.unreported >= REPORT_EVERY:
                    self._report(position)
                    due = self.save_interval.over()
                if due or self.stop:
                    self._check(checked, position)
                    checked = position
                    if self.stop or self.save_interval.over():
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
            with self._uncounted(), self.forecast.glancing():
                step_position = StepPosition(self.index, epoch, last)
                part = self.microbatches.first(batch)  # all that fits into memory for certain
                self.glances.add(rule, part, step_position, phase, self.reporter.note)
        if self.probes is not None:
            self.probes.before_step(batch, s)
        measured = self.step_memory.due(self.index - start, count)
        with self._measured() if measured else contextlib.nullcontext():
            self.microbatches.step(rule, batch, s)
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
    def _uncounted(self) -> Iterator[None]:
        """Leave what runs inside out of the time, memory and operations of the run."""
        with self.clock.paused(), self.peak.uncounted(), _disable_current_modes():
            yield

    @contextlib.contextmanager
    def _measured(self) -> Iterator[None]:
        with self.forecast.untimed(steps=1), self.step_memory.measure(), self.step_flops.measure():
            yield

    def _check(self, checked: int, position: int) -> None:
        """Check the losses since position ``checked``, report the progress, and see to a stop.

        Raises:
            DivergedError: a loss is NaN or infinite.
        """
        losses = self._losses[checked:position]
        finite = torch.isfinite(losses)
        if not bool(finite.all()):
            first = int(finite.long().argmin())
            step = self.index - position + checked + first + 1
            raise DivergedError(step, losses[first].item())
        self._time(position - checked)
        self._report(position)

    def _report(self, position: int) -> None:
        """Report the progress with the time that is left, and see to a stop."""
        loss = self._losses[position - 1].item()  # waits for the device
        forecast = self.forecast
        if forecast.report(self.index):
            if forecast.prediction is None and forecast.training(self.index) > QUICK:
                with self._uncounted(), forecast.untimed():
                    data = self.batches.data
                    forecast.prediction = prediction_seconds(self.rule, data, self.precision)
            self.reporter.expect(forecast.estimate(self.index))
        self.reporter.step(self.index, loss)
        self._update_stop()

    def _time(self, steps: int) -> None:
        """Count the time of the steps since the last check."""
        seconds, core = self.clock.seconds()["training"], self.clock.core()
        before, core_before = self._checked_at
        self._checked_at = seconds, core or 0.0
        phase = self.plan.phase(self.index - 1)[0].name
        self.pace.add(phase, steps, seconds - before, None if core is None else core - core_before)

    def _update_stop(self) -> None:
        if self.stop is None:
            self.stop = self.reporter.stop_reason()

    def _end_epoch(self) -> None:
        """Evaluate, keep the best weights, and write the epoch's line of the log."""
        epoch, position = self.plan.locate(self.index - 1)
        steps, number = position + 1, epoch + 1
        error = top5 = loss = None
        if self.validation is not None:
            with self.clock.measure("evaluation"):
                started = time.monotonic()
                result = evaluate(self.rule, self.validation, self.precision)
                seconds = time.monotonic() - started
                self.forecast.prediction = seconds / len(self.validation)
                error, top5, loss = result.error, result.top5, result.loss
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
            **({} if top5 is None else {"val_error_top5": top5}),
            **{name: self._sums[name].tolist() for name in sorted(self._sums)},
        }
        self._sums = {}
        row["seconds"] = self.clock.seconds()
        with self.run_dir.epoch_log.open("a") as file:
            file.write(json.dumps(without_nan(row), allow_nan=False) + "\n")
        self.reporter.epoch(row)
        if self.probes is not None:
            self.probes.epoch_end(number, self.index)

    def save(self) -> None:
        """Write a checkpoint of everything that the rest of the run depends on."""
        started = time.monotonic()
        epoch_log = self.run_dir.epoch_log
        if epoch_log.exists():
            with epoch_log.open("rb") as file:
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
            "test_reads": self.test_reads.count,
            "journal": epoch_log.stat().st_size if epoch_log.exists() else 0,
        }
        checkpoint.save(self.run_dir.path, self._saved, state)
        self._saved += 1
        self.save_interval.begin(time.monotonic() - started)

    def _resume(self) -> None:
        """Continue from the last checkpoint, or begin where there is none."""
        state = self._checkpoint()
        if self.probes is not None:
            self.probes.restore({} if state is None else state["probes"])
        epoch_log = self.run_dir.epoch_log
        if state is None:
            epoch_log.unlink(missing_ok=True)
            checkpoint.clear(self.run_dir.path)
            return
        self._restore(state)
        if epoch_log.exists():
            # Lines after the checkpoint will be written again.
            os.truncate(epoch_log, state["journal"])
        if self.index >= self.plan.steps:
            self.reporter.note("Continues from its checkpoint at the end of training.")
            return
        epoch, position = self.plan.locate(self.index)
        where = f"step {position} of epoch {epoch + 1}" if position else f"epoch {epoch + 1}"
        self.reporter.note(f"Continues from its checkpoint at {where}.")

    def _checkpoint(self) -> dict[str, Any] | None:
        """Return the last checkpoint; None, with a note, if the run cannot continue from it."""
        state, damaged = checkpoint.load(self.run_dir.path)
        for problem in damaged:
            self.reporter.note(problem)
        if state is None:
            return None
        epoch_log = self.run_dir.epoch_log
        length = epoch_log.stat().st_size if epoch_log.exists() else 0
        if length < state["journal"]:
            self.reporter.note(f"{epoch_log} lacks lines that its checkpoint has: starting again.")
            return None
        if self.probes is not None:
            # Checkpoints of older versions have no rows of probes.
            lacking = self.probes.lacking(state.get("probes", {}))
            if lacking is not None:
                self.reporter.note(f"{lacking}: starting again.")
                return None
        return state

    def _restore(self, state: dict[str, Any]) -> None:
        """Restore everything except the probes from a checkpoint."""
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
        self._checked_at = self.clock.seconds()["training"], 0.0
        if self.glances is not None:
            # Checkpoints of older versions have no glances.
            self.glances.restore(state.get("glances", []), state.get("files_opened", []))
        self.test_reads.count = state.get("test_reads", 0)
        self.step_memory = StepMemory(state.get("step_memory_mib"))
        self.step_flops = StepFlops(state.get("step_flops"))
