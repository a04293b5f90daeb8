"""Workers of one sigmoid unit each, which separate one class from all others."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.network import Block
from lbench_lfnn.config import LeaderConfig
from lbench_lfnn.workers import TINY, Choice, Predictions, Workers


class BinaryWorkers(Workers):
    """W workers per class, each of which predicts y = sigmoid(z), the probability of its class.

    Unit k·W + w is worker w of class k. Workers are compared with those of the same class, and
    followers copy the best leader of their class.

    Args:
        width: number of units of the block, a multiple of the number of classes.
        classes: number of classes.
        config: options of the choice of leaders and of the losses.
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
        """Return every worker's binary cross-entropy, (batch, classes, workers), at most 87."""
        own = F.one_hot(target, self.classes)[..., None] > 0
        return torch.where(own, y, 1 - y).clamp_min(TINY).log().neg()

    def reference(self, values: Tensor, choice: Choice) -> Tensor:
        """Return what the followers of each class copy of ``values``, (batch, classes, 1)."""
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
        """Return the gradient of the leader and follower losses at z, in closed form.

        The losses of all classes' networks are added. Let n of the W workers of a class lead, and
        let t be 1 for examples of the class and 0 for others. With batch size B, the gradient of
        a leader is dz = (y - t)/(nB). That of a follower is dz = 2(y - y*)·y(1 - y)/((W - n)B),
        or 2(z - z*)/((W - n)B) if logits are copied.
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
        """Return the sum of the leader and follower losses as a scalar, for autograd."""
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
        """Return z as (batch, classes, workers), in float32 for bfloat16 so that losses differ."""
        z = z.float() if z.dtype is torch.bfloat16 else z
        return z.view(-1, self.classes, self.count)
