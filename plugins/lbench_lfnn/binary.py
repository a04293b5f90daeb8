"""Workers of one sigmoid unit each, which tell one class from all others."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.network import Block
from lbench_lfnn.config import LeaderConfig
from lbench_lfnn.workers import TINY, Choice, Predictions, Workers


class BinaryWorkers(Workers):
    """Each class has W workers of its own; one predicts y = sigmoid(z): "is it this class?".

    Unit k·W + w is worker w of class k. Workers of a class are compared among themselves, and
    their followers copy the best leader of that class.

    Args:
        width: units of the block, a multiple of the classes.
        classes: how many there are.
        config: who leads, and what is learned from whom.
    """

    def __init__(self, width: int, classes: int, config: LeaderConfig) -> None:
        super().__init__(width // classes, classes, config)
        self.ranked = (classes, self.count)

    def activate(self, block: Block, z: Tensor) -> Tensor:
        return self._logits(z).sigmoid().view_as(z)

    def predict(self, z: Tensor, h: Tensor) -> Predictions:
        logits = self._logits(z)
        return Predictions(logits, h.view_as(logits))

    def mask(self, choice: Choice, z: Tensor) -> Tensor:
        return choice.leads.flatten(1)

    def pull(self, grad: Tensor, predictions: Predictions, z: Tensor, h: Tensor) -> Tensor:
        return grad.view_as(z)

    def losses(self, y: Tensor, target: Tensor) -> Tensor:
        """Binary cross-entropy of every worker, (batch, classes, workers); above 87 it is 87."""
        own = F.one_hot(target, self.classes)[..., None] > 0
        return torch.where(own, y, 1 - y).clamp_min(TINY).log().neg()

    def reference(self, values: Tensor, choice: Choice) -> Tensor:
        """What followers of each class copy of ``values``, (batch, classes, 1)."""
        if self.config.reference == "mean":
            return (values * choice.leads).sum(2, keepdim=True) / self.leaders
        return values.gather(2, choice.model[..., None].expand(len(values), -1, 1))

    def logits_grad(
        self,
        predictions: Predictions,
        target: Tensor,
        choice: Choice,
        weights: tuple[float, float],
    ) -> Tensor:
        """The gradient of the leader and follower losses at z, in closed form.

        The losses are those of each class's network, added. With n leaders among the W workers
        of a class, batch B and t = 1 for examples of the class, else 0: a leader's
        dz = (y - t)/(nB), a follower's dz = 2(y - y*)·y(1 - y)/((W - n)B), or
        2(z - z*)/((W - n)B) where logits are copied.
        """
        logits, y = predictions
        lead, follow = weights
        batch = len(target)
        divisor = batch * (self.leaders if self.config.leader_loss == "mean" else 1)
        own = F.one_hot(target, self.classes)[..., None].to(y.dtype)
        g = (y - own).mul_(choice.leads * (lead / divisor))
        followers = self.count - self.leaders
        if followers:
            copies_logits = self.config.follow == "logits"
            copied = logits if copies_logits else y
            gap = copied - self.reference(copied, choice)
            if not copies_logits:
                gap.mul_(y * (1 - y))
            g.addcmul_(gap, (1 - choice.leads) * (2 * follow / (followers * batch)))
        return g

    def loss(
        self,
        logits: Tensor,
        target: Tensor,
        choice: Choice,
        weights: tuple[float, float],
    ) -> Tensor:
        """The same losses as a scalar, for autograd."""
        lead, follow = weights
        batch = len(target)
        own = F.one_hot(target, self.classes)[..., None].to(logits.dtype).expand_as(logits)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, own, reduction="none")
        divisor = self.leaders if self.config.leader_loss == "mean" else 1
        total = lead * (cross_entropy * choice.leads).sum() / (batch * divisor)
        followers = self.count - self.leaders
        if followers:
            copied = logits if self.config.follow == "logits" else logits.sigmoid()
            squares = (copied - self.reference(copied, choice).detach()).square()
            total = total + follow * (squares * (1 - choice.leads)).sum() / (followers * batch)
        return total

    def _logits(self, z: Tensor) -> Tensor:
        """By class and worker; of a bfloat16 block in float32, so that losses differ."""
        z = z.float() if z.dtype is torch.bfloat16 else z
        return z.view(-1, self.classes, self.count)
