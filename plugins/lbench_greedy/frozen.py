"""frozen: a random trunk that is never trained, and a trained readout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from lbench.claims import Claims
from lbench.config import RuleConfig, param
from lbench.init import Init
from lbench.network import Network
from lbench.recipe import Recipe
from lbench.rule import GradientRule
from lbench.step import Step
from lbench.task import Batch


class Frozen(GradientRule):
    """A trained readout of random features: the null model of rules that train blocks.

    The readout has the gradient of bp. Blocks keep their initial weights, multiplied by
    ``scale``. They run in training mode, because prediction needs BatchNorm's running statistics.
    """

    class Config(RuleConfig):
        """Options of frozen."""

        scale: float = param(
            6.0, low=0.01, high=100.0, log=True, help="Factor on the blocks' initial weights"
        )

    config: Frozen.Config
    expected_failures: ClassVar[Mapping[str, str]] = {
        "batch_norm_once_per_step": "No parameter of a block is trained, but its BatchNorm has to "
        "see the data: with its initial statistics it would not normalise."
    }

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return Claims(
            transport="none",
            backward_depth=0,
            update_locked=False,
            global_error="none",
            couples=network.couples,
        )

    @classmethod
    def recipe(cls, default: Recipe, dataset: str, network: str) -> Recipe:
        """Return a learning rate of at least 0.003, since only the readout learns."""
        return default.model_copy(update={"lr": max(default.lr, 3e-3)})

    def build(self, init: Init) -> None:
        for block in self.network.blocks:
            block.requires_grad_(False)
        with torch.no_grad():
            for layer in self.network.layers:
                weight = layer.affine.weight
                if isinstance(weight, nn.Parameter):
                    weight.mul_(self.config.scale)
                else:  # made from other parameters, as by weight normalisation: they follow
                    layer.affine.weight = weight * self.config.scale

    def loss(self, batch: Batch, s: Step) -> Tensor:
        return self.task.loss(self.network(batch.x, s), batch.target)
