"""Workers: how a block makes predictions, and the losses of leaders and followers.

Scores are class-major, (batch, classes, workers): softmax over classes runs over the middle
dimension, which is far faster than over the last.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.errors import UsageError
from lbench.network import Block
from lbench_lfnn.config import LeaderConfig, UnitConfig
from lbench_local_loss.readouts import Readouts, require_relu

TINY = torch.finfo(torch.float32).tiny


class Predictions(NamedTuple):
    """What the workers of a block predict.

    Args:
        logits: (batch, classes, workers).
        y: their softmax over classes.
    """

    logits: Tensor
    y: Tensor


class Choice(NamedTuple):
    """Who leads, and whom followers copy; one row for the batch or one an example.

    Where each class has workers of its own, a dimension of classes stands before the last one of
    ``leads``, and is the last one of ``model``.

    Args:
        leads: 1 for a leader, 0 for a follower, (1 or batch, workers).
        model: index of the best leader, or of the one that was drawn, (1 or batch,).
    """

    leads: Tensor
    model: Tensor


def leaders(count: int, config: LeaderConfig) -> int:
    """How many of ``count`` workers lead, at least one."""
    share = config.leadership * count
    rounded = {
        "round": math.floor(share + 0.5 + 1e-9),
        "floor": math.floor(share + 1e-9),
        "ceil": math.ceil(share - 1e-9),
    }[config.rounding]
    return max(1, rounded)


class Workers:
    """How many workers there are and lead, and their losses.

    Args:
        count: of workers; where each class has its own, of those of one class.
        classes: how many there are.
        config: who leads, and what is learned from whom.
    """

    def __init__(self, count: int, classes: int, config: LeaderConfig) -> None:
        self.count = count
        self.classes = classes
        # The shape of one loss a worker; ranks are taken along its last dimension.
        self.ranked: tuple[int, ...] = (count,)
        self.leaders = leaders(count, config)
        self.config = config

    def activate(self, block: Block, z: Tensor) -> Tensor:
        """What the block passes on, in the shape of ``z``."""
        return block.activate(z)

    def predict(self, z: Tensor, h: Tensor) -> Predictions:
        """What the workers of a block predict from its z and h."""
        raise NotImplementedError

    def pull(self, grad: Tensor, predictions: Predictions, z: Tensor, h: Tensor) -> Tensor:
        """From a cotangent at the logits, which may be overwritten, to one at ``z``."""
        raise NotImplementedError

    def mask(self, choice: Choice, z: Tensor) -> Tensor:
        """1 at the units of leaders, (batch or 1, …) in the shape of ``z``."""
        raise NotImplementedError

    def losses(self, y: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of every worker on every example, (batch, workers); above 87 it is 87."""
        index = target.view(-1, 1, 1).expand(-1, 1, self.count)
        return y.gather(1, index).squeeze(1).clamp_min(TINY).log().neg()

    def rank(self, losses: Tensor) -> Choice:
        """Who leads, the best of them in front.

        Args:
            losses: ``ranked`` for one choice, (batch, *ranked) for one an example.
        """
        order = losses.view(-1, *self.ranked).argsort(dim=-1, stable=True)
        mask = torch.zeros_like(order, dtype=losses.dtype)
        return Choice(mask.scatter_(-1, order[..., : self.leaders], 1.0), order[..., 0])

    def reference(self, values: Tensor, choice: Choice) -> Tensor:
        """What followers copy of ``values`` (batch, classes, workers): (batch, classes, 1)."""
        if self.config.reference == "mean":
            return (values * choice.leads[:, None]).sum(2, keepdim=True) / self.leaders
        if len(choice.model) == 1:
            return values.index_select(2, choice.model)
        return values.gather(2, choice.model.view(-1, 1, 1).expand(-1, self.classes, 1))

    def logits_grad(
        self,
        predictions: Predictions,
        target: Tensor,
        choice: Choice,
        weights: tuple[float, float],
    ) -> Tensor:
        """The gradient of the leader and follower losses at the logits s, in closed form.

        With n leaders among W workers, batch B and K classes (all derived from Section 2 of the
        paper): a leader's ds = (y - e_t)/(nB); a follower's, with r = 2(y - y*)/((W - n)BK), is
        ds = y·(r - <r, y>), or 2(s - s*)/((W - n)BK) where logits are copied.

        Args:
            weights: of the leader loss and of the follower loss.
        """
        logits, y = predictions
        lead, follow = weights
        batch = len(target)
        divisor = batch * (self.leaders if self.config.leader_loss == "mean" else 1)
        leads = (choice.leads * (lead / divisor))[:, None]
        followers = self.count - self.leaders
        if followers:
            scale = 2 * follow / (followers * batch * self.classes)
            follows = ((1 - choice.leads) * scale)[:, None]
            copies_logits = self.config.follow == "logits"
            copied = logits if copies_logits else y
            gap = (copied - self.reference(copied, choice)).mul_(follows)
            if copies_logits:
                g = torch.addcmul(gap, y, leads)
            else:
                inner = (y * gap).sum(1, keepdim=True)
                g = gap.sub_(inner).add_(leads).mul_(y)
        else:
            g = y * leads
        index = target.view(-1, 1, 1).expand(-1, 1, self.count)
        g.scatter_add_(1, index, leads.neg().expand(batch, 1, self.count))
        return g

    def loss(
        self,
        logits: Tensor,
        target: Tensor,
        choice: Choice,
        weights: tuple[float, float],
    ) -> Tensor:
        """The same losses as a scalar, for autograd (Section 2 of the paper)."""
        lead, follow = weights
        log_y = logits.log_softmax(1)
        labels = target[:, None].expand(-1, self.count)
        cross_entropy = F.nll_loss(log_y, labels, reduction="none")
        divisor = self.leaders if self.config.leader_loss == "mean" else 1
        total = lead * (cross_entropy * choice.leads).sum() / (len(target) * divisor)
        followers = self.count - self.leaders
        if followers:
            copied = logits if self.config.follow == "logits" else log_y.exp()
            reference = self.reference(copied, choice).detach()
            squares = (copied - reference).square().mean(1)
            total = total + follow * (squares * (1 - choice.leads)).sum() / (
                followers * len(target)
            )
        return total


def require_multiple(name: str, width: int, size: int, words: str) -> None:
    """Nothing, where the width of a block or layer is a multiple of ``size``.

    Raises:
        UsageError: it is none; ``words`` say what the size is.
    """
    if width % size:
        below, above = width // size * size, (width // size + 1) * size
        fits = f"{below} or {above}" if below else f"{above}"
        raise UsageError(
            f"Block {name!r} has width {width}, which is no multiple of {words}.",
            f"A width of {fits} would fit, for example --net widths=…,{above},…",
        )


class UnitWorkers(Workers):
    """Workers whose units are logits.

    A fully connected worker of one unit a class predicts softmax(z) (Section 2 of the paper). A
    worker with several units a class, or with channels, has the mean of its activated units, over
    space too, as its score for a class; the paper leaves that case open.

    Units are class-major too: of W workers with m units a class, unit (k·W + w)·m + j is the j-th
    unit of worker w for class k.

    Args:
        block: whose units they are.
        classes: how many there are.
        config: the rule's options.

    Raises:
        UsageError: the width is no multiple of classes times units, or the block ends in another
            activation than ReLU and its logits are means.
    """

    def __init__(self, block: Block, classes: int, config: UnitConfig) -> None:
        size = classes * config.units
        require_multiple(
            block.name, block.width, size, f"{classes} classes x {config.units} units a class"
        )
        super().__init__(block.width // size, classes, config)
        self.units = config.units
        self.averaged = block.convolutional or config.units > 1
        if config.units > 1 and not block.convolutional and config.forward != "relu":
            raise UsageError(
                f"Workers with units={config.units} pass on their activated units.",
                "Add --set forward=relu, or leave units at 1.",
            )
        self.forward = config.forward
        if self.averaged:
            require_relu(block)

    def activate(self, block: Block, z: Tensor) -> Tensor:
        """What the block passes on, in the shape of ``z``."""
        if self.averaged:
            return block.activate(z)
        if self.forward == "relu":
            return F.relu(z)
        return self.logits(z, z).softmax(1).view_as(z)

    def logits(self, z: Tensor, h: Tensor) -> Tensor:
        """Class logits of every worker, (batch, classes, workers); of a bfloat16 block in float32.

        In bfloat16 many workers would have one and the same loss, and rank by their index.
        """
        half = z.dtype is torch.bfloat16
        if self.averaged:
            rows = h.reshape(len(h), self.classes, self.count, -1)
            return rows.mean(-1, dtype=torch.float32 if half else None)
        z = F.relu(z) if self.forward == "relu_softmax" else z
        return (z.float() if half else z).view(-1, self.classes, self.count)

    def predict(self, z: Tensor, h: Tensor) -> Predictions:
        """Every worker's logits and their softmax, which is what it passes on where it can be."""
        logits = self.logits(z, h)
        passed_on = not self.averaged and self.forward != "relu"
        return Predictions(logits, h.view_as(logits) if passed_on else logits.softmax(1))

    def mask(self, choice: Choice, z: Tensor) -> Tensor:
        return self.spread(choice.leads[:, None].expand(-1, self.classes, -1), z)

    def spread(self, values: Tensor, z: Tensor) -> Tensor:
        """(batch or 1, classes, workers) to the shape of ``z``: units get their worker's value."""
        rows = len(values)
        if not self.averaged:
            return values.reshape(rows, -1)
        positions = z[0, 0].numel()
        spread = values[..., None].expand(-1, -1, -1, self.units * positions)
        return spread.reshape(rows, *z.shape[1:])

    def pull(self, grad: Tensor, predictions: Predictions, z: Tensor, h: Tensor) -> Tensor:
        if not self.averaged:
            inside = self.forward == "relu_softmax"
            return (grad * (predictions.logits > 0) if inside else grad).view_as(z)
        size = z[0].numel() // (self.classes * self.count)
        return self.spread(grad.div_(size), z) * (h > 0)


class ReadoutWorkers(Workers):
    """Workers that score classes by a linear readout of their units.

    Args:
        readouts: of the block's workers.
        config: who leads, and what is learned from whom.
    """

    def __init__(self, readouts: Readouts, config: LeaderConfig) -> None:
        super().__init__(readouts.count, readouts.classes, config)
        self.readouts = readouts

    def predict(self, z: Tensor, h: Tensor) -> Predictions:
        logits = self.readouts(h)
        return Predictions(logits, logits.softmax(1))

    def pull(self, grad: Tensor, predictions: Predictions, z: Tensor, h: Tensor) -> Tensor:
        # Blocks end in relu: h > 0 is its derivative.
        return self.readouts.pull(grad, h) * (h > 0)
