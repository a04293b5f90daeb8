"""Heads of one layer that look at a block, and the loss on similarities (arXiv:1901.06656)."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from lbench.init import Init
from lbench.step import Step


class Pool(nn.Module):
    """Averages a block's map down to at most ``features`` numbers.

    Height and width are halved in turn, height first, until the numbers fit; channels are never
    merged, and a fully connected block stays whole. As in the released code of Nøkland & Eidnes
    2019, a side that its window does not divide gets half a window of zeros at both ends, which
    count in the means; what is left behind the last whole window is not seen.

    Args:
        shape: of the block's map for one example.
        features: the most numbers that are left.
    """

    def __init__(self, shape: tuple[int, ...], features: int) -> None:
        super().__init__()
        channels, *sides = shape
        size, window = list(sides), [1] * len(sides)
        axis = 0
        while channels * math.prod(size) > features and math.prod(size) > 1:
            if size[axis] > 1:
                window[axis] *= 2
                size[axis] = math.ceil(sides[axis] / window[axis])
            axis = 1 - axis
        self.window = window
        self.padding = [
            0 if side % one == 0 else one // 2 for side, one in zip(sides, window, strict=True)
        ]
        self.features = channels * math.prod(size)

    def forward(self, h: Tensor) -> Tensor:
        """(batch, width) stays, (batch, channels, height, width) becomes smaller."""
        if math.prod(self.window) == 1:
            return h
        return F.avg_pool2d(h, self.window, padding=self.padding)


class Predictor(nn.Module):
    """A linear classifier of a block's pooled map.

    Its weights start at 0, so that at first the block gets no gradient from it.

    Args:
        init: source of initial values.
        name: of the block.
        shape: of the block's map for one example.
        classes: how many there are.
        features: the most numbers that it reads.
    """

    def __init__(
        self, init: Init, name: str, shape: tuple[int, ...], classes: int, features: int
    ) -> None:
        super().__init__()
        self.pool = Pool(shape, features)
        self.linear = init.linear(f"predictor.{name}", self.pool.features, classes)
        nn.init.zeros_(self.linear.weight)

    def forward(self, h: Tensor) -> Tensor:
        """(batch, width) or (batch, channels, height, width) to logits (batch, classes)."""
        logits: Tensor = self.linear(self.pool(h).flatten(1))
        return logits


def similarity_map(init: Init, name: str, shape: tuple[int, ...]) -> nn.Module:
    """The trained map before similarities are taken, without bias and as wide as the block.

    A 3x3 convolution; a linear map where the block has no positions, or one.

    Args:
        init: source of initial values.
        name: of the block.
        shape: of the block's map for one example.
    """
    channels, *size = shape
    if math.prod(size) > 1:
        return init.conv(f"similarity.{name}", channels, channels, 3, bias=False)
    linear = init.linear(f"similarity.{name}", channels, channels, bias=False)
    return nn.Sequential(nn.Flatten(), linear)


def directions(x: Tensor) -> Tensor:
    """(batch, …) to the unit vectors (batch, features) whose products are the similarities S.

    A map of more than 3 channels stands for the standard deviations of its channels over space.
    """
    if x.dim() == 4 and x.shape[1] > 3 and x.shape[2] > 1:
        x = x.flatten(2).std(2)
    x = x.flatten(1)
    # One kernel; constant features have no direction: they give 0.
    normalized = F.layer_norm(x, x.shape[1:], eps=1e-16)
    return normalized / math.sqrt(x.shape[1])


def similarity_loss(x: Tensor, target: Tensor, classes: int, s: Step) -> Tensor:
    """Mean over all pairs of (S(x) − S(one-hot labels))², a scalar.

    S of the labels is 1 within a class and −1/(classes − 1) otherwise.

    Args:
        x: (batch, …).
        target: (batch,).
        classes: how many there are.
        s: gathers the rows of the whole batch.
    """
    rows = directions(x)
    same = (target[:, None] == s.gather(target)).to(rows.dtype)
    return distance(rows, (classes * same - 1) / (classes - 1), s)


def distance(rows: Tensor, wanted: Tensor, s: Step) -> Tensor:
    """Mean over all pairs of (S − wanted)², a scalar.

    A batch of one example has no pairs: S = 1 is what is wanted, and there is no gradient.

    Args:
        rows: directions, (batch, features).
        wanted: similarities to the rows of the whole batch, symmetric there.
        s: gathers the rows of the whole batch.
    """
    columns = s.gather(rows.detach())
    loss = F.mse_loss((rows @ columns.T).clamp(-1, 1), wanted)
    # S is symmetric: its rows carry half of the gradient, its columns the same again.
    return 2 * loss - loss.detach()
