"""What a trainer works with, beside the rule: data, procedure, output and monitors."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from lbench.data.loader import Batches, DeviceData
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.rundir import RunDir
from lbench.training.forecast import Forecast
from lbench.training.glances import Glances
from lbench.training.memory import Peak
from lbench.training.reporter import Reporter
from lbench.training.run_probes import Probes
from lbench.training.step_plan import StepPlan


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The examples that a run trains on and selects its best epoch by.

    Args:
        batches: training batches, addressed by epoch and position in the epoch.
        validation: held-out examples; None under the paper protocol.
    """

    batches: Batches
    validation: DeviceData | None = None


@dataclass(frozen=True, slots=True)
class Procedure:
    """How a run trains: all that decides its numbers beside rule and data.

    Args:
        recipe: optimizer, learning rate and schedule.
        plan: the steps by epoch and phase.
        randomness: the run's random streams.
        precision: ``fp32`` or ``bf16``.
        microbatch: the largest number of examples that run at once; None for whole batches.
    """

    recipe: Recipe
    plan: StepPlan
    randomness: Randomness
    precision: str = "fp32"
    microbatch: int | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """Where a run writes and reports.

    Args:
        run_dir: directory of the run, locked by the caller.
        reporter: receiver of the progress.
        checkpoint_every: seconds between checkpoints; None for :data:`USUAL`, or more where
            checkpoints would take more than :data:`SHARE` of the time.
    """

    run_dir: RunDir
    reporter: Reporter
    checkpoint_every: float | None = None


USUAL = 30.0
"""Seconds between checkpoints, unless the user gives a number."""
SHARE = 0.01
"""Share of the time that checkpoints may take, unless the user gives a number."""


class Interval:
    """The time between two checkpoints.

    Args:
        seconds: seconds between checkpoints, as in :class:`Output`.
    """

    def __init__(self, seconds: float | None) -> None:
        self._given = seconds
        self.begin(0.0)

    def begin(self, cost: float) -> None:
        """Begin an interval.

        Args:
            cost: seconds that the latest checkpoint took.
        """
        self._began = time.monotonic()
        self.seconds = max(USUAL, cost / SHARE) if self._given is None else self._given

    def over(self) -> bool:
        """Return whether the next checkpoint is due."""
        return time.monotonic() - self._began >= self.seconds


@dataclass
class ReadCount:
    """The number of times that a run has read the test set."""

    count: int = 0


@dataclass(frozen=True, slots=True)
class Monitors:
    """What observes a run and changes none of its numbers.

    Args:
        glances: short audits of some steps; None for none.
        probes: probes of the run; None for none.
        peak: peak memory since it was created; None creates one.
        forecast: the time that the run takes; None to use the steps and the validation alone.
        test_reads: increased by the code that gives the test set to a probe.
    """

    glances: Glances | None = None
    probes: Probes | None = None
    peak: Peak | None = None
    forecast: Forecast | None = None
    test_reads: ReadCount = field(default_factory=ReadCount)
