"""Fixed random weights from the classes to every layer, shared by dfa and drtp."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from lbench.config import RuleConfig, param
from lbench.init import Init
from lbench.layer import Layer
from lbench.rule import Rule


class Direct(Rule):
    """Base of rules in which every layer receives a signal (batch, classes) through its own B.

    B has the shape (classes, units) and the initial distribution of a readout on that layer.
    """

    class Config(RuleConfig):
        """Options of direct feedback."""

        conv: Literal["full", "channel"] = param(
            "full",
            help="Feedback to feature maps: to each unit, or to the mean of each channel",
        )
        reduction: Literal["mean", "sum"] = param(
            "mean", help="Reduction of hidden gradients over the batch; the readout's is a mean"
        )

    config: Direct.Config

    def build(self, init: Init) -> None:
        shapes = self.network.shapes(self.task.shape)
        self.feedback = nn.ParameterList()
        self.indices: dict[str, tuple[int, int]] = {}  # layer name to indices of block and B
        for k, block in enumerate(self.network.blocks):
            for layer in block.layers:
                shape = shapes[layer.name]
                units = shape.numel() if self.config.conv == "full" else shape[0]
                b = init.uniform(
                    f"feedback/{layer.name}", (self.task.classes, units), 1 / math.sqrt(units)
                )
                self.indices[layer.name] = k, len(self.feedback)
                self.feedback.append(nn.Parameter(b, requires_grad=False))

    def delta(self, layer: Layer, z: Tensor, signal: Tensor) -> Tensor:
        """Return (B signal) * phi'(z), of the shape of z.

        Args:
            layer: a layer of the network.
            z: its preactivation, (batch, units) or (batch, channels, height, width).
            signal: (batch, classes), divided by the batch size.
        """
        k, index = self.indices[layer.name]
        if self.config.reduction == "sum":
            signal = signal * len(signal)
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            h = self.activate(k, z)
        h_grad = (signal @ self.feedback[index].to(signal.dtype)).to(h.dtype)
        if z[0].numel() > h_grad.shape[1]:  # one number per channel, for its mean over positions
            positions = z[0, 0].numel()
            h_grad = (h_grad / positions).view(*z.shape[:2], 1, 1).expand_as(z)
        (delta,) = torch.autograd.grad(h, z, h_grad.view_as(z))
        return delta
