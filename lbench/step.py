"""Step: the surroundings of one training step, as a rule sees them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lbench.randomness import Kind, Randomness


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the budget.

    Args:
        name: what progress and records call it.
        share: its part of the budget; the shares of all phases are scaled to a sum of 1.
        groups: the parameter groups that are trained; None for all.
    """

    name: str = "train"
    share: float = 1.0
    groups: frozenset[str] | None = None


class Step:
    """Where a step stands, its randomness, and means over the whole batch.

    Args:
        randomness: the run's.
        index: steps before this one in the run.
        epoch: epochs before this one in the run.
        phase: the part of the budget that it belongs to.
        last: it is the last step of its epoch.
        train: False when the network is only evaluated.
        device: where noise is drawn.
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
        """Keeps a detached tensor; the trainer adds it up over the epoch without a sync."""
        self.logs[name] = value

    def trains(self, group: str) -> bool:
        """Whether this phase trains that parameter group."""
        return self.phase is None or self.phase.groups is None or group in self.phase.groups

    def noise(
        self, stream: str, shape: tuple[int, ...] | torch.Size, kind: Kind = "normal"
    ) -> Tensor:
        """Random numbers of this step and stream, on the step's device (float32)."""
        return self.randomness.draw(f"noise/{stream}", self.index, shape, kind, self.device)

    def mean(self, t: Tensor) -> Tensor:
        """The mean over the whole batch (dimension 0)."""
        return t.mean(0)

    def gather(self, t: Tensor) -> Tensor:
        """The whole batch's rows (dimension 0)."""
        return t
