"""Forecast of the time that the rest of a run takes, from its own first steps."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from lbench.training.glances import COST
from lbench.training.step_plan import StepPlan

EVERY = 0.5
"""Seconds between two forecasts."""
EVIDENCE = 4.0
"""Seconds of training behind the first stretch of steps after which a forecast is made."""
SLOW = 10.0
"""Seconds of a first stretch after which a forecast does not wait for another one."""
WINDOW = 300.0
"""Seconds of training after which a pace counts a third: a machine may become slower or quicker."""


@dataclass(frozen=True, slots=True)
class TimeEstimate:
    """Estimated seconds of a run.

    Args:
        left: the rest of the run.
        epochs: all epochs of the run, with the evaluation after each.
        end: evaluation and audit after the last step.
    """

    left: float
    epochs: float
    end: float

    @property
    def whole(self) -> float:
        """Return the seconds of the run from its first step."""
        return self.epochs + self.end


@dataclass
class Forecast:
    """The pace of a run, and what it does beside its steps.

    Args:
        plan: the steps of the run.
        validation: examples that are predicted after each epoch.
        at_end: examples that are predicted after the last step.
        glances: steps that get a glance, counted from 0.
        audit: seconds of the audit on a small network; 0 if there is none.
        prediction: seconds per predicted example; None until it was measured.
        glance: seconds per glance; None until a process has made its second one.
    """

    plan: StepPlan
    validation: int
    at_end: int = 0
    glances: frozenset[int] = frozenset()
    audit: float = 0.0
    prediction: float | None = None
    glance: float | None = None
    _index: int = 0
    _at: float = 0.0
    _glanced: bool = False
    _warm_up: tuple[int, float] | None = None
    _timed: dict[str, tuple[float, float]] = field(default_factory=dict)

    def begin(self, index: int) -> None:
        """Begin to time steps before step ``index``; the time before is left out."""
        self._index, self._at = index, time.monotonic()

    @property
    def unreported(self) -> float:
        """Return the seconds since the last report."""
        return time.monotonic() - self._at

    @contextlib.contextmanager
    def untimed(self, steps: int = 0) -> Iterator[None]:
        """Leave what runs inside, and that number of steps, out of the pace."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._index += steps
            self._at += time.monotonic() - started

    @contextlib.contextmanager
    def glancing(self) -> Iterator[None]:
        """Time the glance that is made inside; the first one of a process is a warm-up."""
        started = time.monotonic()
        with self.untimed():
            yield
        if self._glanced:
            self.glance = time.monotonic() - started
        self._glanced = True

    def report(self, index: int) -> bool:
        """Count the steps since the last report.

        The first steps of a process are a warm-up: they count only as long as there are no others.

        Args:
            index: number of steps that the run has made.

        Returns:
            Whether there is a new estimate.
        """
        seconds, steps = self.unreported, index - self._index
        ends = index == self.plan.steps or self.plan.locate(index)[1] == 0
        if not steps or (seconds < EVERY and not ends):
            return False
        self.begin(index)
        self._add(self.plan.phase(index - 1)[0].name, steps, seconds)
        return self._ready()

    def _add(self, phase: str, steps: int, seconds: float) -> None:
        if self._warm_up is None:
            self._warm_up = steps, seconds
            return
        steps_before, seconds_before = self._timed.get(phase, (0.0, 0.0))
        kept = max(0.0, 1 - seconds / WINDOW)
        self._timed[phase] = kept * steps_before + steps, kept * seconds_before + seconds

    def _ready(self) -> bool:
        seconds = sum(seconds for _, seconds in self._timed.values())
        return seconds >= EVIDENCE or (self._warm_up is not None and self._warm_up[1] >= SLOW)

    def training(self, index: int) -> float:
        """Return the seconds of the steps from ``index`` on, with their glances."""
        seconds = whole = 0.0
        for phase, start, count in self.plan.phases:
            step = self._step(phase.name)
            seconds += max(0, start + count - max(index, start)) * step
            whole += count * step
        glance = COST * whole / self.plan.steps if self.glance is None else self.glance
        return seconds + glance * sum(step >= index for step in self.glances)

    def estimate(self, index: int) -> TimeEstimate:
        """Return the estimate before step ``index``."""
        prediction = self.prediction or 0.0
        end = self.at_end * prediction + self.audit
        left = self._epochs(index) * self.validation * prediction
        epochs = self._epochs(0) * self.validation * prediction
        return TimeEstimate(self.training(index) + left + end, self.training(0) + epochs, end)

    def _epochs(self, index: int) -> int:
        """Return the number of epochs that end after ``index`` steps."""
        if index >= self.plan.steps:
            return 0
        return self.plan.locate(self.plan.steps - 1)[0] + 1 - self.plan.locate(index)[0]

    def _step(self, phase: str) -> float:
        """Return the seconds per step of a phase; of all phases, before the phase begins."""
        if phase in self._timed:
            steps, seconds = self._timed[phase]
            return seconds / steps
        timed = list(self._timed.values()) or [self._warm_up or (1, 0.0)]
        return sum(seconds for _, seconds in timed) / sum(steps for steps, _ in timed)


def predicted_at_end(plan: StepPlan, training: int, validation: int, test: int | None) -> int:
    """Return the number of examples that are predicted after the last step.

    The test set is read with the last weights and with those of lowest validation error, which are
    the same after one epoch. A trial reads its validation split instead.

    Args:
        plan: the steps of the run.
        training: number of training examples.
        validation: number of examples that are held out.
        test: number of test examples; None for a trial.
    """
    if test is None:
        return training + validation
    several = plan.steps > plan.count(0)
    return training + test * (2 if validation and several else 1)
