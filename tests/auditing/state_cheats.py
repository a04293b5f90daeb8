"""Rules that hide what they do in state or behind a hard error, beside honest ones like them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lbench import Batch, Claims, Network, RuleConfig, Step, View, spatial_mean
from lbench.rule import GradientRule, Grads
from tests.auditing.cheats import FixedFeedback


class HardFeedback(FixedFeedback):
    """A fixed matrix carries to each block which class the whole network chose wrongly."""

    def hard(self, scores: Tensor, target: Tensor) -> Tensor:
        """(batch, classes): the chosen class minus the right one."""
        classes = scores.shape[1]
        chosen = nn.functional.one_hot(scores.argmax(1), classes)
        return (chosen - nn.functional.one_hot(target, classes)).to(scores.dtype)

    def step(self, batch: Batch, s: Step) -> None:
        with torch.no_grad():
            self.sent = self.hard(self.network(batch.x), batch.target)
        super().step(batch, s)
        del self.sent

    def loss(self, v: View, s: Step) -> Tensor:
        told = self.sent @ self.carried(v.k) / len(v.target)
        return super().loss(v, s) + (spatial_mean(v.h) * told).sum()


class SignFeedback(HardFeedback):
    """The same with the sign of how far the right class is ahead, one number an example."""

    def hard(self, scores: Tensor, target: Tensor) -> Tensor:
        own = scores.gather(1, target[:, None])
        rest = scores.scatter(1, target[:, None], -torch.inf).amax(1, keepdim=True)
        right = (rest - own).sign()
        return right.expand(-1, scores.shape[1])


class WhetherRight(HardFeedback):
    """Each block learns twice as much from the examples that the whole network has wrong."""

    def hard(self, scores: Tensor, target: Tensor) -> Tensor:
        return (scores.argmax(1) != target).to(scores.dtype)

    def loss(self, v: View, s: Step) -> Tensor:
        scores = self.heads[v.k](spatial_mean(v.h))
        each = nn.functional.cross_entropy(scores, v.target, reduction="none")
        return ((1 + self.sent) * each).mean()


class Differences(GradientRule):
    """Weights are perturbed at random; the difference of two losses says how far to go back."""

    SIZE = 1e-3

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return Claims(transport="scalar", backward_depth=0, global_error="scalar")

    def gradients(self, batch: Batch, s: Step) -> Grads:
        params = self._trained
        with torch.no_grad():
            before = self.task.loss(self.network(batch.x), batch.target)
            v = {n: s.noise(n, p.shape).to(p.dtype) for n, p in params.items()}
            moved = {n: p + self.SIZE * v[n] for n, p in params.items()}
            after = self.task.loss(
                torch.func.functional_call(self, moved, (batch.x,)), batch.target
            )
        s.log("loss", before)
        slope = (after - before) / self.SIZE
        return {n: slope * each for n, each in v.items()}

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.network(x)
        return scores
