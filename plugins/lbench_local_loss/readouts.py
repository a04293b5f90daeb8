"""Linear readouts of a block, fixed at random or trained: one for the block, or one a worker."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench.config import RuleConfig, param
from lbench.errors import UsageError
from lbench.init import Init
from lbench.network import Block

EPSILON = 1e-5


class ReadoutConfig(RuleConfig):
    """How readouts look at a block."""

    pool: int = param(
        4, low=1, help="Side of the grid of means that a readout sees of feature maps"
    )
    norm: Literal["none", "layer"] = param(
        "none", help="layer: what a readout sees is centred and scaled for each example"
    )
    scale: float = param(4.0, low=0.25, high=64.0, log=True, help="Factor on a readout's logits")


class Readouts(nn.Module):
    """Readouts of the units (channels) of a block, each of units of its own.

    With f the activations of a worker's units, or their means over a grid on each feature map,
    its logits are scale · (A f + c). A is uniform in ±1/√(numbers in f); c, which starts at 0, is
    there only when it is trained. Worker after worker owns neighbouring units; where they cannot
    have equally many, earlier ones have one more. A is stored side by side, (classes, features).

    Args:
        init: source of initial values.
        name: of the block.
        shape: of the block's h for one example.
        classes: how many there are.
        config: pooling, normalisation and scale.
        workers: how many readouts.
        trained: whether A and c learn.

    Raises:
        UsageError: there are more workers than units.
    """

    member: Tensor
    sizes: Tensor
    cells: Tensor

    def __init__(
        self,
        init: Init,
        name: str,
        shape: tuple[int, ...],
        classes: int,
        config: ReadoutConfig,
        *,
        workers: int = 1,
        trained: bool = False,
    ) -> None:
        super().__init__()
        units, *size = shape
        if workers > units:
            raise UsageError(
                f"Block {name!r} has {units} units or channels, too few for {workers} workers.",
                f"Add --set workers={units}, or a smaller number.",
            )
        self.classes, self.count = classes, workers
        self.scale, self.normalized = config.scale, config.norm == "layer"
        self.pooled = bool(size)
        if self.pooled:
            cells = grid(size[0], size[1], config.pool)
            self.register_buffer("cells", cells, persistent=False)
        numbers = self.cells.shape[1] if self.pooled else 1
        least, larger = divmod(units, workers)
        sizes = [(least + (w < larger)) * numbers for w in range(workers)]
        member = torch.block_diag(*(torch.ones(1, each) for each in sizes))  # type: ignore[no-untyped-call]
        self.register_buffer("member", member, persistent=False)
        self.register_buffer("sizes", member.sum(1), persistent=False)
        fan_in = self.sizes @ member
        a = init.uniform(f"readouts.{name}", (classes, units * numbers), 1.0) / fan_in.sqrt()
        self.weight = nn.Parameter(a, requires_grad=trained)
        self.bias = nn.Parameter(torch.zeros(classes, workers)) if trained else None

    def forward(self, h: Tensor) -> Tensor:
        """(batch, units, …) to every worker's logits, (batch, classes, workers).

        In float32 at least: in bfloat16 many workers would have the same loss.
        """
        with torch.autocast(h.device.type, enabled=False):
            f = self.features(h)
            if self.normalized:
                f, _ = self.standardized(f)
            bias = None if self.bias is None else self.scale * self.bias.flatten()
            return F.linear(f, self.matrix(), bias).view(-1, self.classes, self.count)

    def pull(self, grad: Tensor, h: Tensor) -> Tensor:
        """From a cotangent at the logits, (batch, classes, workers), to one at ``h``.

        With f' = (f − mean)/d, as normalised for one worker, and g' = scale · Aᵀ grad, the
        cotangent at f is (g' − mean(g') − f'·mean(g'·f')) / d.
        """
        with torch.autocast(h.device.type, enabled=False):
            g = grad.flatten(1) @ self.matrix()
            if self.normalized:
                f, deviation = self.standardized(self.features(h))
                g = (g - self.mean(g) - f * self.mean(g * f)) / deviation
            if self.pooled:
                g = (g.view(*h.shape[:2], -1) / self.cells.sum(0)) @ self.cells.T
            return g.view(h.shape).to(h.dtype)

    def matrix(self) -> Tensor:
        """The readouts as one map of all features, (classes * workers, features)."""
        if self.count == 1:
            return self.weight * self.scale
        return (self.weight[:, None] * (self.scale * self.member)).flatten(0, 1)

    def features(self, h: Tensor) -> Tensor:
        """What the readouts see before normalisation, (batch, features)."""
        h = h.float() if h.dtype is torch.bfloat16 else h
        return ((h.flatten(2) @ self.cells) / self.cells.sum(0) if self.pooled else h).flatten(1)

    def standardized(self, f: Tensor) -> tuple[Tensor, Tensor]:
        """Features centred and scaled for each worker and example, and their deviations."""
        f = f - self.mean(f)
        deviation = (self.mean(f.square()) + EPSILON).sqrt()
        return f / deviation, deviation

    def mean(self, t: Tensor) -> Tensor:
        """For each of (batch, features) the mean over the features of its worker."""
        if self.count == 1:
            return t.mean(1, keepdim=True)
        return ((t @ self.member.T) / self.sizes) @ self.member


def require_relu(block: Block) -> None:
    """Checks that a closed form with the derivative of ReLU is right for a block.

    Raises:
        UsageError: the block ends in another activation.
    """
    z = torch.linspace(-2, 2, 9)
    with torch.no_grad():
        relu = torch.equal(block.activate(z), F.relu(z))
    if not relu:
        raise UsageError(
            f"Block {block.name!r} does not end in ReLU, whose derivative this rule has in its "
            "closed form.",
            "Rules whose blocks learn from a loss, as pred or lfnn_l_head, take any activation.",
        )


def grid(height: int, width: int, side: int) -> Tensor:
    """Which positions lie in which cell of a grid of at most ``side`` x ``side``, as 0 and 1.

    (height * width, cells). The cells are those of adaptive average pooling.
    """
    positions = torch.eye(height * width).view(-1, 1, height, width)
    shares = F.adaptive_avg_pool2d(positions, (min(side, height), min(side, width)))
    return (shares.flatten(1) > 0).float()
