"""Probe: a read-only measurement during a run. Authors of probes read this module.

A probe is called at steps and at the ends of epochs, and records rows of plain numbers in
``probes/NAME.parquet`` in the run directory. It changes nothing: a run with probes has the same
weights, epoch log and logits, bit by bit, as one without. Its time and memory are not counted for
the run, and it is not part of the fingerprint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from lbench.layer import Layer, tapped
from lbench.randomness import Randomness
from lbench.rule import Grads, Rule
from lbench.step import Step
from lbench.task import Batch

CHUNK = 500
"""Examples per batch."""
Kind = Literal["int", "float", "str", "list[int]", "list[float]"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a probe's table.

    Args:
        kind: type of its values; each may be None.
        title: description of the values, with their unit.
    """

    kind: Kind
    title: str


ALWAYS = {
    "step": Column("int", "The step, from 1; at the end of an epoch, its last"),
    "epoch": Column("int", "The epoch, from 1"),
}
"""The first columns of every probe's table."""


class Examples(Protocol):
    """Labelled examples on the run's device, never augmented."""

    labels: Tensor
    """int64, (examples,)."""

    def __len__(self) -> int:
        """Return the number of examples."""

    def batch(self, idx: Tensor) -> tuple[Tensor, Tensor]:
        """Return images (batch, channels, height, width) and labels (batch,) at these indices."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The parts of a run that a probe may read; only ``judged`` may read the test set.

    Args:
        rule: the run's own rule, in evaluation mode except in ``at_update``.
        training: the examples that the rule learns from, without ``heldout``.
        heldout: the validation split under the strict protocol. Under ``paper`` nothing is held
            out from the rule: then it is the tenth of the training examples that strict would hold
            out.
        randomness: the run's randomness.
        steps: number of steps of the run.
        per_epoch: steps per epoch.
        task_ends: the last epoch, from 1, of each task of a sequence; empty for other datasets.
        judged: returns the examples on which each task of a sequence is evaluated: held-out ones
            under strict. Under ``paper`` they are the test set, and each call counts as a read.
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
    """Base of all probes, whose methods do nothing: override those at which to measure.

    The methods are called without gradients and without autocast. A resumed run has a new probe, so
    a probe must not carry state from step to step, except for its rows.

    Args:
        name: the name of its entry.
        scene: the parts of the run that it may read.
    """

    columns: ClassVar[Mapping[str, Column]] = {}
    """Columns of its table behind ``step`` and ``epoch``."""

    def __init__(self, name: str, scene: Scene) -> None:
        self.name = name
        self.scene = scene
        self.rows: list[dict[str, Any]] = []
        self.step = 0
        self.epoch = 0
        self.begin()

    def begin(self) -> None:
        """Prepare the probe before anything is trained, and check that it fits the rule.

        Raises:
            UsageError: the rule does not fit; the message says which rules do.
        """

    def due(self, index: int) -> bool:
        """Return whether to measure the step with this index, from 0; called before the step."""
        return True

    def before_step(self, batch: Batch, s: Step) -> None:
        """Measure before the rule prepares the batch."""

    def at_update(self, group: str, grads: Grads) -> None:
        """Measure within the step, before a group's optimizer gets these gradients."""

    def after_step(self, batch: Batch, s: Step) -> None:
        """Measure after the rule's own ``after_step``; ``s.logs`` has what the step logged."""

    def epoch_end(self, epoch: int, step: int) -> None:
        """Measure after the epoch's evaluation; epoch and step count from 1."""

    def record(self, **values: Any) -> None:
        """Add a row; a tensor becomes a number or a list.

        Raises:
            ValueError: the names are not the probe's columns.
        """
        if values.keys() != self.columns.keys():
            raise ValueError(f"its columns are {list(self.columns)}, but it records {list(values)}")
        plain = {n: v.tolist() if isinstance(v, Tensor) else v for n, v in values.items()}
        self.rows.append({"step": self.step, "epoch": self.epoch, **plain})

    def generator(self, stream: str, index: int = 0) -> torch.Generator:
        """Return a generator on the CPU that no other code draws from."""
        return self.scene.randomness.generator(f"probe/{self.name}/{stream}", index)


def hidden(rule: Rule, x: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
    """Return z and h, by index, of every block that runs when the rule predicts.

    If a block runs several times, they are those of its first run. The next block's input is
    ``block.emit(h)``.
    """
    blocks = rule.network.blocks
    last = {id(block.layers[-1]): k for k, block in enumerate(blocks)}
    preactivations: dict[int, Tensor] = {}

    def collect(layer: Layer, z: Tensor) -> Tensor:
        preactivations.setdefault(last[id(layer)], z)
        return z

    with tapped([block.layers[-1] for block in blocks], collect):
        rule.predict(x)
    return {k: (z, rule.activate(k, z)) for k, z in sorted(preactivations.items())}


def chunks(examples: Examples, idx: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images and labels at these indices, or all, in batches of ``CHUNK`` examples."""
    if idx is None:
        idx = torch.arange(len(examples))
    idx = idx.to(examples.labels.device)
    for start in range(0, len(idx), CHUNK):
        yield examples.batch(idx[start : start + CHUNK])
