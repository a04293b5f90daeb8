"""Fixed random weights from the classes to every layer, which dfa and drtp share."""

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
    """Base of rules in which every layer gets a signal (batch, classes) through a B of its own.

    B is stored as the weight (classes, units) of a readout on that layer, by the law of one.
    """

    class Config(RuleConfig):
        """Options of direct feedback."""

        conv: Literal["full", "channel"] = param(
            "full",
            help="Feedback to maps with positions: for each unit, or for each channel's mean",
        )
        reduction: Literal["mean", "sum"] = param(
            "mean", help="Of hidden gradients over the batch; the readout's is a mean"
        )

    config: Direct.Config

    def build(self, init: Init) -> None:
        shapes = self.network.shapes(self.task.shape)
        self.feedback = nn.ParameterList()
        self.places: dict[str, tuple[int, int]] = {}  # by layer: its block, and its B
        for k, block in enumerate(self.network.blocks):
            for layer in block.layers:
                shape = shapes[layer.name]
                units = shape.numel() if self.config.conv == "full" else shape[0]
                b = init.uniform(
                    f"feedback/{layer.name}", (self.task.classes, units), 1 / math.sqrt(units)
                )
                self.places[layer.name] = k, len(self.feedback)
                self.feedback.append(nn.Parameter(b, requires_grad=False))

    def delta(self, layer: Layer, z: Tensor, signal: Tensor) -> Tensor:
        """(B signal) * phi'(z), of the shape of z; the signal has a mean's 1/batch in it."""
        k, index = self.places[layer.name]
        if self.config.reduction == "sum":
            signal = signal * len(signal)
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            h = self.activate(k, z)
        sent = (signal @ self.feedback[index].to(signal.dtype)).to(h.dtype)
        if z[0].numel() > sent.shape[1]:  # one number a channel, for its mean over positions
            positions = z[0, 0].numel()
            sent = (sent / positions).view(*z.shape[:2], 1, 1).expand_as(z)
        (delta,) = torch.autograd.grad(h, z, sent.view_as(z))
        return delta
