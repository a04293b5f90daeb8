"""Heads of one layer on a block's h, and the loss on similarities (arXiv:1901.06656)."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from lbench.init import Init
from lbench.step import Step


class FeaturePool(nn.Module):
    """Averages a block's feature maps to at most ``features`` values.

    Height and width are halved in turn, height first, until the values fit. Channels are never
    merged, and the output of a fully connected block is left as it is. As in the released code of
    Nøkland & Eidnes 2019, a side that its window does not divide is padded with half a window of
    zeros at both ends, which count in the means. Values behind the last whole window are dropped.

    Args:
        shape: shape of the block's h for one example.
        features: the largest number of values to keep.
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
            0 if side % length == 0 else length // 2
            for side, length in zip(sides, window, strict=True)
        ]
        self.features = channels * math.prod(size)

    def forward(self, h: Tensor) -> Tensor:
        """Return (batch, width) unchanged, and average (batch, channels, height, width)."""
        if math.prod(self.window) == 1:
            return h
        return F.avg_pool2d(h, self.window, padding=self.padding)


class PredictionHead(nn.Module):
    """A linear classifier of a block's pooled h.

    Its weights start at 0, so at first the block gets no gradient from it.

    Args:
        init: source of initial values.
        name: name of the block.
        shape: shape of the block's h for one example.
        classes: number of classes.
        features: the largest number of inputs.
    """

    def __init__(
        self, init: Init, name: str, shape: tuple[int, ...], classes: int, features: int
    ) -> None:
        super().__init__()
        self.pool = FeaturePool(shape, features)
        self.linear = init.linear(f"predictor.{name}", self.pool.features, classes)
        nn.init.zeros_(self.linear.weight)

    def forward(self, h: Tensor) -> Tensor:
        """Map (batch, width) or (batch, channels, height, width) to logits (batch, classes)."""
        logits: Tensor = self.linear(self.pool(h).flatten(1))
        return logits


def similarity_map(init: Init, name: str, shape: tuple[int, ...]) -> nn.Module:
    """Return the trained map in front of the similarities, without bias and as wide as the block.

    It is a 3x3 convolution, or a linear map if the block's h has no positions or only one.

    Args:
        init: source of initial values.
        name: name of the block.
        shape: shape of the block's h for one example.
    """
    channels, *size = shape
    if math.prod(size) > 1:
        return init.conv(f"similarity.{name}", channels, channels, 3, bias=False)
    linear = init.linear(f"similarity.{name}", channels, channels, bias=False)
    return nn.Sequential(nn.Flatten(), linear)


def directions(x: Tensor) -> Tensor:
    """Map (batch, …) to unit vectors (batch, features) whose inner products are similarities S.

    Feature maps of more than 3 channels are replaced by the standard deviation of each channel
    over positions.
    """
    if x.dim() == 4 and x.shape[1] > 3 and x.shape[2] > 1:
        x = x.flatten(2).std(2)
    x = x.flatten(1)
    # Layer norm is a single kernel. Constant features have no direction and give 0.
    normalized = F.layer_norm(x, x.shape[1:], eps=1e-16)
    return normalized / math.sqrt(x.shape[1])


def similarity_loss(x: Tensor, target: Tensor, classes: int, s: Step) -> Tensor:
    """Return the mean over all pairs of (S(x) − S(one-hot labels))², a scalar.

    S of the labels is 1 within a class and −1/(classes − 1) otherwise.

    Args:
        x: features, (batch, …).
        target: labels, (batch,).
        classes: number of classes.
        s: the step, which gathers the rows of the whole batch.
    """
    rows = directions(x)
    same = (target[:, None] == s.gather(target)).to(rows.dtype)
    return distance(rows, (classes * same - 1) / (classes - 1), s)


def distance(rows: Tensor, wanted: Tensor, s: Step) -> Tensor:
    """Return the mean over all pairs of (S − wanted)², a scalar.

    A batch of one example has only the pair with itself, for which S = 1 = wanted, so there is no
    gradient.

    Args:
        rows: unit vectors, (batch, features).
        wanted: target similarities to the rows of the whole batch, a symmetric matrix.
        s: the step, which gathers the rows of the whole batch.
    """
    columns = s.gather(rows.detach())
    loss = F.mse_loss((rows @ columns.T).clamp(-1, 1), wanted)
    # S is symmetric: its rows carry half of the gradient, and its columns the other half.
    return 2 * loss - loss.detach()
