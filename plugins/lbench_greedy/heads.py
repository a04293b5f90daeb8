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
        1, low=1, help="Hidden layers of a block's problem: the block and k - 1 of its classifier"
    )
    head: Literal["linear", "mlp"] = param(
        "linear", help="Classifier behind pooling; mlp has a hidden layer as wide as the block"
    )
    pool: int = param(
        1, low=1, help="Side of the grid that feature maps are averaged to for a classifier"
    )

    @property
    def depth(self) -> int:
        """Return the number of consecutive affine maps of a classifier."""
        return self.k + (self.head == "mlp")


def heads(network: Network, task: Task, config: HeadConfig, init: Init) -> nn.ModuleList:
    """Return one classifier per block, for the block's h."""
    shapes = network.shapes(task.shape)
    return nn.ModuleList(
        classifier(block, shapes[block.layers[-1].name], task.classes, config, init, f"heads.{k}")
        for k, block in enumerate(network.blocks)
    )


def classifier(
    block: Block, shape: tuple[int, ...], classes: int, config: HeadConfig, init: Init, name: str
) -> nn.Sequential:
    """Return an auxiliary classifier: k - 1 hidden layers, pooling, the head, and a linear map.

    The hidden layers are as wide as the block, and have the same kind of normalisation as its
    last layer, and a bias if that layer has one. They are 3x3 convolutions, 1x1 convolutions if h
    has one position, and linear maps if it has none.

    Args:
        block: the block whose h is classified.
        shape: shape of h for one example.
        classes: number of classes.
        config: options that choose the layers.
        init: source of initial values.
        name: prefix of the names of the initial values.
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
    pool = GridMean(*(min(config.pool, side) for side in size))
    layers.append(pool)
    inputs = width * pool.height * pool.width
    if config.head == "mlp":
        layers += [init.linear(f"{name}.hidden", inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, init.linear(name, inputs, classes))


class GridMean(nn.Module):
    """Averages each feature map over the cells of a grid; features without positions stay."""

    def __init__(self, height: int = 1, width: int = 1) -> None:
        super().__init__()
        self.height = height
        self.width = width

    def forward(self, h: Tensor) -> Tensor:
        """Map (batch, channels, …) to (batch, channels * height * width)."""
        return h if h.dim() == 2 else F.adaptive_avg_pool2d(h, (self.height, self.width)).flatten(1)
