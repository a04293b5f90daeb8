"""What leader-follower rules share: blocks of workers, who leads them, and the local loss."""

from __future__ import annotations

from typing import Literal, cast

from torch import Tensor

from lbench.init import Init
from lbench.network import Network
from lbench.rule import LocalRule, Rule, View
from lbench.step import Step
from lbench_lfnn.config import LeaderConfig, UnitConfig
from lbench_lfnn.selection import Selection, selections
from lbench_lfnn.workers import UnitWorkers, Workers


class LeaderFollowerRule(Rule):
    """Passes on what the workers of every block emit, and remembers who led."""

    config: LeaderConfig
    workers: list[Workers]

    def build(self, init: Init) -> None:
        """A subclass forms ``workers`` first."""
        self.selections = selections(self.workers)

    def activate(self, k: int, z: Tensor) -> Tensor:
        return self.workers[k].activate(self.network.blocks[k], z)

    def after_step(self, s: Step) -> None:
        for k in range(len(self.workers)):
            self.selection(k).after_step(s)

    def selection(self, k: int) -> Selection:
        """Chooses the leaders of block ``k``."""
        return cast(Selection, self.selections[k])


class UnitRule(LeaderFollowerRule):
    """Forms workers whose units are scores."""

    config: UnitConfig
    workers: list[UnitWorkers]  # type: ignore[assignment]

    def build(self, init: Init) -> None:
        blocks = self.network.blocks
        self.workers = [UnitWorkers(block, self.task.classes, self.config) for block in blocks]
        super().build(init)


class LocalLeaderRule(LeaderFollowerRule, LocalRule):
    """A block minimises a weighted sum of its leader and follower losses."""

    weights: tuple[float, float]

    def cotangent(self, v: View, s: Step) -> Tensor:
        workers = self.workers[v.k]
        predictions = workers.predict(v.z, v.h)
        choice = self.selection(v.k).choose(predictions.y, v.target, s)
        error = workers.error(predictions, v.target, choice, self.weights)
        return workers.pull(error, predictions, v.z, v.h)

    def loss(self, v: View, s: Step) -> Tensor:
        workers = self.workers[v.k]
        predictions = workers.predict(v.z, v.h)
        choice = self.selection(v.k).choose(predictions.y.detach(), v.target, s)
        return workers.loss(predictions.scores, v.target, choice, self.weights)


def couples(config: LeaderConfig, network: Network) -> Literal["none", "mean"]:
    """Workers are compared by means over the batch, unless leaders are chosen an example.

    Leaders that are drawn are compared only where followers copy the best of them.
    """
    compared = config.selection != "random" or config.reference == "best"
    return "mean" if compared and config.selection != "example" else network.couples
