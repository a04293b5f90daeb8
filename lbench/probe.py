"""Probe: a read-only measurement during a run. This is the page that a probe's author reads.

A probe is asked at steps and at the ends of epochs, and records rows of plain numbers, which
become ``probes/NAME.parquet`` in the run directory. It changes nothing: a run with probes has the
same weights, journal and logits, bit by bit, as one without. Its time and its memory count as
nobody's, and no fingerprint knows of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from lbench.randomness import Randomness
from lbench.rule import Grads, Rule
from lbench.step import Step
from lbench.task import Batch

Kind = Literal["int", "float", "str", "list[int]", "list[float]"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a probe's table.

    Args:
        kind: of its values; any may be None.
        title: what it holds, with its unit.
    """

    kind: Kind
    title: str


ALWAYS = {
    "step": Column("int", "The step, from 1; at the end of an epoch, its last"),
    "epoch": Column("int", "The epoch, from 1"),
}
"""Columns that every probe's table begins with."""


class Examples(Protocol):
    """Labelled examples on the run's device, never augmented."""

    labels: Tensor
    """int64, (examples,)."""

    def __len__(self) -> int:
        """How many there are."""

    def batch(self, idx: Tensor) -> tuple[Tensor, Tensor]:
        """The images, (batch, channels, height, width), and labels at these indices."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a probe may look at; the test set is behind ``judged`` alone.

    Args:
        rule: the run's own. In evaluation mode, but for ``at_update``.
        training: what the rule learns from, without ``heldout``.
        heldout: the validation split under the strict protocol. Under ``paper`` nothing is held
            out from the rule: it is the tenth of its training examples that strict would hold out.
        randomness: the run's.
        steps: of the run.
        per_epoch: steps an epoch.
        task_ends: of a sequence, the epochs, from 1, with which its tasks end; else none.
        judged: of a sequence, the examples of each task that it is judged by: held-out ones under
            strict. Under ``paper`` they are the test set, and each call counts as a read of it.
    """

    rule: Rule
    training: Examples
    heldout: Examples
    randomness: Randomness
    steps: int
    per_epoch: int
    task_ends: Sequence[int] = ()
    judged: Callable[[], Sequence[Examples]] = tuple


class Probe:
    """Base of all probes: override what is to be looked at.

    The methods are called without gradients and without autocast; a resumed run has a fresh probe,
    so it keeps nothing from one step to a later one but its rows.

    Args:
        name: of its entry.
        scene: what it may look at.
    """

    columns: ClassVar[Mapping[str, Column]] = {}
    """Of its table, behind ``step`` and ``epoch``."""

    def __init__(self, name: str, scene: Scene) -> None:
        self.name = name
        self.scene = scene
        self.rows: list[dict[str, Any]] = []
        self.step = 0
        self.epoch = 0
        self.begin()

    def begin(self) -> None:
        """Checks that the rule can be looked at.

        Raises:
            UsageError: it cannot; says which rules can. Nothing is trained.
        """

    def due(self, index: int) -> bool:
        """Whether the step with this index, from 0, is to be looked at; asked before it."""
        return True

    def before_step(self, batch: Batch, s: Step) -> None:
        """Before the rule prepares the batch."""

    def at_update(self, group: str, grads: Grads) -> None:
        """Before a group's optimizer gets these gradients, in the middle of the step."""

    def after_step(self, batch: Batch, s: Step) -> None:
        """After the rule's own ``after_step``; ``s.logs`` is what the step logged."""

    def epoch_end(self, epoch: int, step: int) -> None:
        """After the epoch's evaluation; both count from 1."""

    def record(self, **values: Any) -> None:
        """Adds a row; a tensor becomes a number or a list.

        Raises:
            ValueError: these are not the probe's columns.
        """
        if values.keys() != self.columns.keys():
            raise ValueError(f"its columns are {list(self.columns)}, but it records {list(values)}")
        plain = {n: v.tolist() if isinstance(v, Tensor) else v for n, v in values.items()}
        self.rows.append({"step": self.step, "epoch": self.epoch, **plain})

    def generator(self, stream: str, index: int = 0) -> torch.Generator:
        """A generator on the CPU that nobody else draws from."""
        return self.scene.randomness.generator(f"probe/{self.name}/{stream}", index)
