"""Auxiliary classifiers of blocks."""

from __future__ import annotations

import copy
import math
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from lbench.config import RuleConfig, param
from lbench.init import Init
from lbench.network import Block, Network
from lbench.task import Task


class HeadConfig(RuleConfig):
    """Options of auxiliary classifiers."""

    k: int = param(
        1, low=1, help="Hidden layers of a block's problem: the block, and k - 1 of its classifier"
    )
    head: Literal["linear", "mlp"] = param(
        "linear", help="Behind pooling; mlp has a hidden layer as wide as the block"
    )
    pool: int = param(
        1, low=1, help="Side of the grid of means that a classifier sees of feature maps"
    )

    @property
    def depth(self) -> int:
        """How many maps a classifier has one behind the other."""
        return self.k + (self.head == "mlp")


def heads(network: Network, task: Task, config: HeadConfig, init: Init) -> nn.ModuleList:
    """A classifier a block, of its h."""
    shapes = network.shapes(task.shape)
    return nn.ModuleList(
        classifier(block, shapes[block.layers[-1].name], task.classes, config, init, f"heads.{k}")
        for k, block in enumerate(network.blocks)
    )


def classifier(
    block: Block, shape: tuple[int, ...], classes: int, config: HeadConfig, init: Init, name: str
) -> nn.Sequential:
    """Hidden layers of the problem, pooling, perhaps a hidden layer, and a linear map to logits.

    Hidden layers of the problem are as wide as the block, with the kind of normalisation of its
    last layer and a bias where that has one: 3x3 convolutions, 1x1 where there is one position,
    linear maps where there is none.

    Args:
        block: of which it sees h.
        shape: of h, for one example.
        classes: how many there are.
        config: which layers.
        init: source of initial values.
        name: of those values.
    """
    width, *size = shape
    last = block.layers[-1]
    bias = last.affine.bias is not None
    layers: list[nn.Module] = []
    for number in range(1, config.k):
        hidden = f"{name}.hidden{number}"
        if size:
            kernel = 3 if math.prod(size) > 1 else 1
            layers.append(init.conv(hidden, width, width, kernel, bias=bias))
        else:
            layers.append(init.linear(hidden, width, width, bias=bias))
        if last.norm is not None:
            layers.append(copy.deepcopy(last.norm))
        layers.append(nn.ReLU())
    pool = Pool(*(min(config.pool, side) for side in size))
    layers.append(pool)
    inputs = width * pool.height * pool.width
    if config.head == "mlp":
        layers += [init.linear(f"{name}.hidden", inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, init.linear(name, inputs, classes))


class Pool(nn.Module):
    """Means over the cells of a grid on each feature map; features without positions stay."""

    def __init__(self, height: int = 1, width: int = 1) -> None:
        super().__init__()
        self.height = height
        self.width = width

    def forward(self, h: Tensor) -> Tensor:
        """(batch, channels, …) to (batch, channels * height * width)."""
        return h if h.dim() == 2 else F.adaptive_avg_pool2d(h, (self.height, self.width)).flatten(1)
