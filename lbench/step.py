"""Step: position, randomness and means of one training step, as a rule gets them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lbench.randomness import Kind, Randomness


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the budget.

    Args:
        name: its name in progress and records.
        share: its share of the budget; the shares of all phases are scaled to a sum of 1.
        groups: names of the parameter groups that are trained; None for all.
    """

    name: str = "train"
    share: float = 1.0
    groups: frozenset[str] | None = None


class Step:
    """The position of a step in the run, its randomness, and means over the whole batch.

    Args:
        randomness: the randomness of the run.
        index: number of steps before this one in the run.
        epoch: number of epochs before this one in the run.
        phase: the part of the budget that the step belongs to.
        last: whether it is the last step of its epoch.
        train: False if the network is only evaluated.
        device: the device of noise.
    """

    __slots__ = ("device", "epoch", "index", "last", "logs", "phase", "randomness", "train")

    def __init__(
        self,
        randomness: Randomness,
        index: int = 0,
        epoch: int = 0,
        *,
        phase: Phase | None = None,
        last: bool = False,
        train: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        self.randomness = randomness
        self.index = index
        self.epoch = epoch
        self.phase = phase
        self.last = last
        self.train = train
        self.device = device
        self.logs: dict[str, Tensor] = {}

    def log(self, name: str, value: Tensor) -> None:
        """Store a detached tensor; the trainer sums it over the epoch without a sync."""
        self.logs[name] = value

    def trains(self, group: str) -> bool:
        """Return whether this phase trains the parameter group."""
        return self.phase is None or self.phase.groups is None or group in self.phase.groups

    def noise(
        self, stream: str, shape: tuple[int, ...] | torch.Size, kind: Kind = "normal"
    ) -> Tensor:
        """Return random numbers of this step and stream, float32, on the step's device."""
        return self.randomness.draw(f"noise/{stream}", self.index, shape, kind, self.device)

    def mean(self, t: Tensor) -> Tensor:
        """Return the mean over the whole batch (dimension 0)."""
        return t.mean(0)

    def gather(self, t: Tensor) -> Tensor:
        """Return the rows of the whole batch (dimension 0)."""
        return t
