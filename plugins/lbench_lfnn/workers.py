"""Workers: the predictions that a block makes, and the losses of leaders and followers.

Logits are class-major, (batch, classes, workers): a softmax over the middle dimension is far
faster than over the last.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.errors import MisfitError, UsageError
from lbench.network import Block
from lbench_lfnn.config import LeaderConfig, UnitConfig
from lbench_local_loss.readouts import Readouts, Slope

TINY = torch.finfo(torch.float32).tiny
MANY = 5
"""Workers per block that hints suggest: as many as lfnn_l_rr has by default."""


class Predictions(NamedTuple):
    """The predictions of the workers of a block.

    Args:
        logits: logits, (batch, classes, workers).
        y: probabilities, the softmax of the logits over classes.
    """

    logits: Tensor
    y: Tensor


class Choice(NamedTuple):
    """The leaders, and the leader that followers copy: one row for the batch or one per example.

    If each class has its own workers, ``leads`` is (1 or batch, classes, workers) and ``model``
    is (1 or batch, classes).

    Args:
        leads: 1 for a leader and 0 for a follower, (1 or batch, workers).
        model: index of the best leader, or of a randomly drawn one, (1 or batch,).
    """

    leads: Tensor
    model: Tensor


def leaders(count: int, config: LeaderConfig) -> int:
    """Return how many of ``count`` workers lead, at least one."""
    share = config.leadership * count
    rounded = {
        "round": math.floor(share + 0.5 + 1e-9),
        "floor": math.floor(share + 1e-9),
        "ceil": math.ceil(share - 1e-9),
    }[config.rounding]
    return max(1, rounded)


class Workers:
    """The workers of a block: their number, the number of leaders, and their losses.

    Args:
        count: number of workers; if each class has its own workers, the number per class.
        classes: number of classes.
        config: options of the choice of leaders and of the losses.
    """

    def __init__(self, count: int, classes: int, config: LeaderConfig) -> None:
        self.count = count
        self.classes = classes
        # The shape of one loss per worker. Workers are ranked along the last dimension.
        self.ranked: tuple[int, ...] = (count,)
        self.leaders = leaders(count, config)
        self.config = config

    def activate(self, block: Block, z: Tensor) -> Tensor:
        """Return the block's activation h, of the shape of ``z``."""
        return block.activate(z)

    def predict(self, z: Tensor, h: Tensor) -> Predictions:
        """Return the workers' predictions from the block's z and h."""
        raise NotImplementedError

    def pull(self, grad: Tensor, predictions: Predictions, z: Tensor, h: Tensor) -> Tensor:
        """Map a cotangent at the logits, which may be overwritten, to one at ``z``."""
        raise NotImplementedError

    def mask(self, choice: Choice, z: Tensor) -> Tensor:
        """Return 1 at the units of leaders and 0 elsewhere, broadcastable to the shape of ``z``."""
        raise NotImplementedError

    def losses(self, y: Tensor, target: Tensor) -> Tensor:
        """Return every worker's cross-entropy on every example, (batch, workers), at most 87."""
        index = target.view(-1, 1, 1).expand(-1, 1, self.count)
        return y.gather(1, index).squeeze(1).clamp_min(TINY).log().neg()

    def rank(self, losses: Tensor) -> Choice:
        """Return the choice in which the workers of lowest loss lead.

        Args:
            losses: shape ``ranked`` for one choice, (batch, *ranked) for one choice per example.
        """
        order = losses.view(-1, *self.ranked).argsort(dim=-1, stable=True)
        mask = torch.zeros_like(order, dtype=losses.dtype)
        return Choice(mask.scatter_(-1, order[..., : self.leaders], 1.0), order[..., 0])

    def reference(self, values: Tensor, choice: Choice) -> Tensor:
        """Return what followers copy: values (batch, classes, workers) to (batch, classes, 1)."""
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
        """Return the gradient of the leader and follower losses at the logits s, in closed form.

        The equations are derived from Section 2 of the paper. With n leaders among W workers,
        batch size B and K classes, the gradient of a leader is ds = (y - e_t)/(nB). That of a
        follower is ds = y·(r - <r, y>) with r = 2(y - y*)/((W - n)BK), or
        ds = 2(s - s*)/((W - n)BK) if logits are copied.

        Args:
            predictions: the workers' predictions.
            target: labels, (batch,).
            choice: the leaders, and the leader that followers copy.
            weights: weights of the leader loss and of the follower loss.
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
        """Return the weighted leader and follower losses of Section 2 as a scalar, for autograd."""
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


def require_multiple(
    name: str,
    width: int,
    size: int,
    description: str,
    remedy: str = "",
    *,
    convolutional: bool = False,
) -> None:
    """Raise an error if the width of a block or layer is not a multiple of ``size``.

    Args:
        name: name of the block or layer.
        width: its width.
        size: the number that has to divide the width.
        description: the size in words, for the message.
        remedy: what would do too, at the end of the hint.
        convolutional: whether the block is a convolution, so that other options of networks
            decide its width than those of fully connected layers.

    Raises:
        MisfitError: the width is not a multiple of ``size``.
    """
    if width % size:
        below, above = width // size * size, (width // size + 1) * size
        fits = f"{below} or {above}" if below else f"{above}"
        raise MisfitError(
            f"Block {name!r} has width {width}, which is not a multiple of {description}.",
            f"Choose a width of {fits}{remedy}.",
            {
                **({} if convolutional else {"hidden": f"…,{above},…"}),
                "widths": f"…,{above},…",
                "width": str(above),
                "channels": str(above),
            },
        )


def require_forward_relu(block: Block, config: UnitConfig, setting: str) -> None:
    """Raise an error if class scores are means of units that the options do not activate by ReLU.

    Raises:
        UsageError: the block is fully connected, and ``forward`` is not ``relu``.
    """
    if not block.convolutional and config.forward != "relu":
        raise UsageError(
            f"Workers with {setting} need forward=relu, not {config.forward}.",
            f"Add --set forward=relu or leave out {setting}.",
        )


def _pooling_remedy(block: Block, classes: int) -> str:
    """Return how workers of another kind would fit a block, as the end of a hint."""
    most = MANY if block.convolutional else min(MANY, block.width // classes)
    if most < 2:
        return "; or choose rule lfnn_l_rr, whose workers may have any size"
    relu = "" if block.convolutional else " --set forward=relu"
    return f"; or add --set workers={most}{relu}, which pools groups of channels to the classes"


class UnitWorkers(Workers):
    """Workers whose units are logits.

    A fully connected worker of one unit per class predicts softmax(z) (Section 2 of the paper).
    If a worker has several units per class, or channels, its class score is the mean of its
    activated units, over positions too; the paper does not define that case.

    Units are class-major too: with W workers of m units per class, unit (k·W + w)·m + j is the
    j-th unit of worker w for class k.

    Args:
        block: the block whose units the workers consist of.
        classes: number of classes.
        config: the rule's options.

    Raises:
        MisfitError: the width is not a multiple of classes times units.
    """

    def __init__(self, block: Block, classes: int, config: UnitConfig) -> None:
        size = classes * config.units
        require_multiple(
            block.name,
            block.width,
            size,
            f"{classes} classes x {config.units} units per class",
            _pooling_remedy(block, classes),
            convolutional=block.convolutional,
        )
        super().__init__(block.width // size, classes, config)
        self.units = config.units
        self.averaged = block.convolutional or config.units > 1
        if config.units > 1:
            require_forward_relu(block, config, f"units={config.units}")
        self.forward = config.forward
        self.slope = Slope(block)

    def activate(self, block: Block, z: Tensor) -> Tensor:
        """Return the block's activation h, of the shape of ``z``."""
        if self.averaged:
            return block.activate(z)
        if self.forward == "relu":
            return F.relu(z)
        return self.logits(z, z).softmax(1).view_as(z)

    def logits(self, z: Tensor, h: Tensor) -> Tensor:
        """Return the class logits of every worker, (batch, classes, workers).

        Those of a bfloat16 block are in float32: in bfloat16 many workers would have the same
        loss, and would be ranked by their index.
        """
        half = z.dtype is torch.bfloat16
        if self.averaged:
            rows = h.reshape(len(h), self.classes, self.count, -1)
            return rows.mean(-1, dtype=torch.float32 if half else None)
        z = F.relu(z) if self.forward == "relu_softmax" else z
        return (z.float() if half else z).view(-1, self.classes, self.count)

    def predict(self, z: Tensor, h: Tensor) -> Predictions:
        """Return every worker's logits and their softmax, which is reused if h already is it."""
        logits = self.logits(z, h)
        h_is_softmax = not self.averaged and self.forward != "relu"
        return Predictions(logits, h.view_as(logits) if h_is_softmax else logits.softmax(1))

    def mask(self, choice: Choice, z: Tensor) -> Tensor:
        return self.spread(choice.leads[:, None].expand(-1, self.classes, -1), z)

    def spread(self, values: Tensor, z: Tensor) -> Tensor:
        """Give each unit its worker's value: (batch or 1, classes, workers) to the shape of z."""
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
        return self.slope.pull(self.spread(grad.div_(size), z), z, h)


class ReadoutWorkers(Workers):
    """Workers that have a linear readout of their units.

    Args:
        block: the block whose units the workers consist of.
        readouts: the readouts of the block's workers.
        config: options of the choice of leaders and of the losses.
    """

    def __init__(self, block: Block, readouts: Readouts, config: LeaderConfig) -> None:
        super().__init__(readouts.count, readouts.classes, config)
        self.readouts = readouts
        self.slope = Slope(block)

    def predict(self, z: Tensor, h: Tensor) -> Predictions:
        logits = self.readouts(h)
        return Predictions(logits, logits.softmax(1))

    def pull(self, grad: Tensor, predictions: Predictions, z: Tensor, h: Tensor) -> Tensor:
        return self.slope.pull(self.readouts.pull(grad, h), z, h)
