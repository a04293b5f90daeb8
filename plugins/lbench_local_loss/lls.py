"""lls: each block learns to match a fixed sine wave per class."""

from __future__ import annotations

import math
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench.config import RuleConfig, param
from lbench.init import Init
from lbench.rule import View
from lbench.step import Step
from lbench_local_loss.base import LocalLoss


class Lls(LocalLoss):
    """Each block minimises the cross-entropy of logits from a fixed basis: CE(C a / T, t).

    a is h, average-pooled to 4x4 in the first block and to 2x2 in later ones, flattened and
    normalised to length 1 for each example. C[k, j] = sin(f_k j), with frequencies f_k evenly
    spaced from 50 to 512 (Apolinario, Roy and Roy 2024, arXiv:2405.15868, and its code). With
    ``mode=gain`` (LLS-M) each class's logit has a trained factor; with ``mode=mixing`` (LLS-MxM)
    a trained matrix mixes the logits.
    """

    class Config(RuleConfig):
        """Options of lls."""

        mode: Literal["fixed", "gain", "mixing"] = param(
            "fixed", help="Trained part behind the basis: none, one factor per class, or a matrix"
        )
        basis: Literal["cosine", "square"] = param(
            "cosine", help="Waves (called cosine in the paper, but sines), or their signs"
        )
        temperature: float = param(1.0, low=0.01, high=100, log=True, help="Divisor of the logits")

    config: Lls.Config

    @classmethod
    def carries(cls, config: RuleConfig) -> int:
        return int(cast(Lls.Config, config).mode == "mixing")

    def build(self, init: Init) -> None:
        self.waves = nn.ModuleList(
            Waves(init, name, shape, self.task.classes, 2 if k else 4, self.config)
            for k, (name, shape) in enumerate(self.shapes())
        )

    def loss(self, v: View, s: Step) -> Tensor:
        return F.cross_entropy(self.waves[v.k](v.h) / self.config.temperature, v.target)


class Waves(nn.Module):
    """Class logits of a block's h from a fixed basis.

    Args:
        init: source of initial values.
        name: name of the block.
        shape: shape of its h for one example.
        classes: number of classes.
        side: side of the grid that feature maps are averaged to.
        config: the rule's options.
    """

    def __init__(
        self,
        init: Init,
        name: str,
        shape: tuple[int, ...],
        classes: int,
        side: int,
        config: Lls.Config,
    ) -> None:
        super().__init__()
        channels, *size = shape
        self.size = [min(side, length) for length in size]
        frequencies = torch.linspace(50, 512, classes, dtype=torch.float64)
        indices = torch.arange(channels * math.prod(self.size), dtype=torch.float64)
        basis = torch.sin(torch.outer(frequencies, indices))
        if config.basis == "square":
            basis = basis.sign()
        self.basis: Tensor
        self.register_buffer("basis", basis.float(), persistent=False)
        self.gain = self.mixing = None
        if config.mode == "gain":
            self.gain = nn.Parameter(init.normal(f"gain.{name}", (classes,), 0.01))
        elif config.mode == "mixing":
            self.mixing = init.linear(f"mixing.{name}", classes, classes, bias=False)
            with torch.no_grad():
                self.mixing.weight.copy_(init.normal(f"mixing.{name}", (classes, classes), 0.01))

    def forward(self, h: Tensor) -> Tensor:
        """Map (batch, width) or (batch, channels, height, width) to logits (batch, classes)."""
        if h.dim() == 4:
            h = F.adaptive_avg_pool2d(h, (self.size[0], self.size[1]))
        logits = F.linear(F.normalize(h.flatten(1)), self.basis)
        if self.gain is not None:
            logits = logits * self.gain
        if self.mixing is not None:
            logits = self.mixing(logits)
        return logits
