"""Linear readouts of a block, fixed and random or trained: one per block or one per worker."""

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
    """Options of readouts of a block."""

    pool: int = param(
        4, low=1, help="Side of the grid that feature maps are averaged to for a readout"
    )
    norm: Literal["none", "layer"] = param(
        "none", help="layer: centre and scale the inputs of a readout for each example"
    )
    scale: float = param(4.0, low=0.25, high=64.0, log=True, help="Factor on a readout's logits")


class Readouts(nn.Module):
    """Linear readouts of disjoint sets of units (channels) of a block, one set per worker.

    With f the activations of a worker's units, or their means over a grid on each feature map,
    the worker's logits are scale · (A f + c). A is uniform in ±1/√(size of f); c starts at 0 and
    exists only if it is trained. Each worker owns neighbouring units, in order; if the units
    cannot be split equally, the first workers have one more. The matrices A of all workers are
    stored side by side, (classes, features).

    Args:
        init: source of initial values.
        name: name of the block.
        shape: shape of the block's h for one example.
        classes: number of classes.
        config: pooling, normalisation and scale.
        workers: number of readouts.
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
        units, *sides = shape
        if workers > units:
            raise UsageError(
                f"Block {name!r} has {units} units or channels, too few for {workers} workers.",
                f"Add --set workers={units}, or a smaller number.",
            )
        self.classes, self.count = classes, workers
        self.scale, self.normalized = config.scale, config.norm == "layer"
        self.pooled = bool(sides)
        if self.pooled:
            cells = grid(sides[0], sides[1], config.pool)
            self.register_buffer("cells", cells, persistent=False)
        numbers = self.cells.shape[1] if self.pooled else 1
        least, larger = divmod(units, workers)
        sizes = [(least + (w < larger)) * numbers for w in range(workers)]
        member = torch.block_diag(*(torch.ones(1, size) for size in sizes))  # type: ignore[no-untyped-call]
        self.register_buffer("member", member, persistent=False)
        self.register_buffer("sizes", member.sum(1), persistent=False)
        fan_in = self.sizes @ member
        a = init.uniform(f"readouts.{name}", (classes, units * numbers), 1.0) / fan_in.sqrt()
        self.weight = nn.Parameter(a, requires_grad=trained)
        self.bias = nn.Parameter(torch.zeros(classes, workers)) if trained else None

    def forward(self, h: Tensor) -> Tensor:
        """Map h (batch, units, …) to the logits of every worker, (batch, classes, workers).

        The logits are at least in float32: in bfloat16 many workers would have the same loss.
        """
        with torch.autocast(h.device.type, enabled=False):
            f = self.features(h)
            if self.normalized:
                f, _ = self.standardized(f)
            bias = None if self.bias is None else self.scale * self.bias.flatten()
            return F.linear(f, self.matrix(), bias).view(-1, self.classes, self.count)

    def pull(self, grad: Tensor, h: Tensor) -> Tensor:
        """Map a cotangent at the logits, (batch, classes, workers), to one at ``h``.

        With f' = (f − mean)/d the normalised features of one worker and g' = scale · Aᵀ grad, the
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
        """Return all readouts as one matrix on all features, (classes * workers, features)."""
        if self.count == 1:
            return self.weight * self.scale
        return (self.weight[:, None] * (self.scale * self.member)).flatten(0, 1)

    def features(self, h: Tensor) -> Tensor:
        """Return the inputs of the readouts in front of normalisation, (batch, features)."""
        h = h.float() if h.dtype is torch.bfloat16 else h
        return ((h.flatten(2) @ self.cells) / self.cells.sum(0) if self.pooled else h).flatten(1)

    def standardized(self, f: Tensor) -> tuple[Tensor, Tensor]:
        """Return features centred and scaled for each worker and example, and their deviations."""
        f = f - self.mean(f)
        deviation = (self.mean(f.square()) + EPSILON).sqrt()
        return f / deviation, deviation

    def mean(self, t: Tensor) -> Tensor:
        """Replace each entry of (batch, features) by the mean over its worker's features.

        With a single worker the result is (batch, 1).
        """
        if self.count == 1:
            return t.mean(1, keepdim=True)
        return ((t @ self.member.T) / self.sizes) @ self.member


class Slope:
    """The derivative of a block's activation, which carries gradients from h back to z.

    Args:
        block: the block; its activation is elementwise.
    """

    def __init__(self, block: Block) -> None:
        self.block = block
        z = torch.linspace(-2, 2, 9)
        with torch.no_grad():
            self.relu = torch.equal(block.activate(z), F.relu(z))

    def pull(self, h_grad: Tensor, z: Tensor, h: Tensor) -> Tensor:
        """Map a gradient at h to one at z, of the same shape.

        Args:
            h_grad: the gradient at h.
            z: the block's preactivation.
            h: its activation.
        """
        if self.relu:  # whose derivative is h > 0
            return h_grad * (h > 0)
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            h = self.block.activate(z)
        (z_grad,) = torch.autograd.grad(h, z, h_grad.to(h.dtype))
        return z_grad


def grid(height: int, width: int, side: int) -> Tensor:
    """Return which positions are in which cell of a grid of at most ``side`` x ``side`` cells.

    The result is (height * width, cells), with entries 0 and 1. The cells are those of adaptive
    average pooling, so they can overlap.
    """
    positions = torch.eye(height * width).view(-1, 1, height, width)
    shares = F.adaptive_avg_pool2d(positions, (min(side, height), min(side, width)))
    return (shares.flatten(1) > 0).float()
