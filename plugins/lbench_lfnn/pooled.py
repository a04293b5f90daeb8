"""Workers that are groups of channels, whose pooled activations are the scores of the classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench.errors import UsageError
from lbench.network import Block
from lbench_lfnn.config import UnitConfig
from lbench_lfnn.workers import Choice, Predictions, Workers, require_forward_relu
from lbench_local_loss.readouts import Slope, grid


class Pooling(nn.Module):
    """Means over groups of neighbouring channels, one per worker and class.

    The matrices have entries 0 and 1: they are buffers that follow the rule's dtype and device.

    Args:
        shape: shape of the block's h for one example, (units,) or (channels, height, width).
        classes: number of classes.
        workers: number of workers.
        side: side of the grid that feature maps are averaged to.
    """

    positions: Tensor
    first: Tensor
    others: Tensor

    def __init__(self, shape: tuple[int, ...], classes: int, workers: int, side: int) -> None:
        super().__init__()
        channels, *sides = shape
        least, self.larger = divmod(channels, workers)
        self.sizes = [least + (w < self.larger) for w in range(workers)]
        cells = grid(sides[0], sides[1], side) if sides else torch.ones(1, 1)
        self.cells = cells.shape[1]
        self.register_buffer("positions", cells, persistent=False)
        # The features of each class, of workers with one more channel and of the others.
        for name, size in (("first", least + 1), ("others", least)):
            windows = _windows(size * self.cells, classes)
            self.register_buffer(name, windows, persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        """Map h (batch, channels, …) to the scores of every worker, (batch, classes, workers)."""
        f = h.reshape(*h.shape[:2], -1) @ self.positions / self.positions.sum(0)
        end = sum(self.sizes[: self.larger])
        scores = [
            part.reshape(len(h), -1, len(windows)) @ windows / windows.sum(0)
            for part, windows in ((f[:, :end], self.first), (f[:, end:], self.others))
            if part.numel()
        ]
        # Class-major in memory too, as all logits of workers are.
        return torch.cat(scores, 1).transpose(1, 2).contiguous()

    def pull(self, grad: Tensor, h: Tensor) -> Tensor:
        """Map a cotangent at the scores, (batch, classes, workers), to one at ``h``."""
        by_worker = grad.transpose(1, 2)
        parts = by_worker[:, : self.larger], by_worker[:, self.larger :]
        features = [
            ((part / windows.sum(0)) @ windows.T).reshape(len(grad), -1, self.cells)
            for part, windows in zip(parts, (self.first, self.others), strict=True)
            if part.numel()
        ]
        at_cells = torch.cat(features, 1) / self.positions.sum(0)
        return (at_cells @ self.positions.T).view(h.shape)


class PooledWorkers(Workers):
    """W workers of neighbouring channels (units) of a block, for any number of classes.

    The paper does not define workers whose channels are fewer than the classes (Yin et al. 2023,
    arXiv:2310.07885). Here the activations of a worker's M channels are averaged over a grid of
    g x g cells, which gives F = M·g² features in the order channel, row, column. The score of
    class k is the mean of the features from ⌊kF/K⌋ to ⌈(k + 1)F/K⌉ - 1, as in adaptive average
    pooling from F to K numbers. g is the smallest side for which every worker of the block has at
    least one feature per class. No parameter is added: the pooling is fixed.

    If the channels cannot be split equally, the first workers have one more.

    Args:
        block: the block.
        shape: shape of its h for one example, (units,) or (channels, height, width).
        classes: number of classes.
        config: the rule's options, with the number of workers.

    Raises:
        UsageError: a worker has fewer features than classes on the finest grid.
    """

    def __init__(
        self, block: Block, shape: tuple[int, ...], classes: int, config: UnitConfig
    ) -> None:
        assert config.workers is not None
        super().__init__(config.workers, classes, config)
        require_forward_relu(block, config, f"workers={self.count}")
        self.slope = Slope(block)
        side = _side(block.name, shape, classes, self.count)
        self.pooling = Pooling(shape, classes, self.count, side)

    def predict(self, z: Tensor, h: Tensor) -> Predictions:
        with torch.autocast(h.device.type, enabled=False):
            # In bfloat16 many workers would have the same loss, and be ranked by their index.
            logits = self.pooling(h.float() if h.dtype is torch.bfloat16 else h)
        return Predictions(logits, logits.softmax(1))

    def pull(self, grad: Tensor, predictions: Predictions, z: Tensor, h: Tensor) -> Tensor:
        with torch.autocast(h.device.type, enabled=False):
            at_h = self.pooling.pull(grad, h).to(h.dtype)
        return self.slope.pull(at_h, z, h)

    def mask(self, choice: Choice, z: Tensor) -> Tensor:
        sizes = torch.tensor(self.pooling.sizes, device=z.device)
        leads = choice.leads.repeat_interleave(sizes, dim=1, output_size=z.shape[1])
        return leads.view(*leads.shape, *(1,) * (z.dim() - 2))


def _side(name: str, shape: tuple[int, ...], classes: int, workers: int) -> int:
    """Return the side of the coarsest grid on which each worker has a feature per class.

    Raises:
        UsageError: even the finest grid has fewer features.
    """
    channels, *sides = shape
    height, width = sides or (1, 1)
    for side in range(1, max(height, width) + 1):
        if channels // workers * min(side, height) * min(side, width) >= classes:
            return side
    size = "x".join(map(str, shape))
    most = channels // max(1, math.ceil(classes / (height * width)))
    raise UsageError(
        f"Block {name!r} emits {size} values, too few for {workers} workers with {classes} "
        "classes: the channels of a worker need a value per class.",
        (f"Add --set workers={most}, or choose" if most else "Choose")
        + " wider blocks, fewer poolings, or rule lfnn_l_rr, whose workers may have any size.",
    )


def _windows(features: int, classes: int) -> Tensor:
    """Return which features are averaged for which class, (features, classes).

    The windows are those of adaptive average pooling. There are none for fewer features than
    classes, which no worker has.
    """
    if features < classes:
        return torch.zeros(features, classes)
    return (F.adaptive_avg_pool1d(torch.eye(features), classes) > 0).float()
