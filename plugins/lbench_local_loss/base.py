"""Base classes of rules with local losses through heads of one layer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.claims import Claims
from lbench.config import RuleConfig, param
from lbench.network import Network
from lbench.recipe import Recipe
from lbench.rule import LocalRule


class LocalLoss(LocalRule):
    """Each block minimises its own loss on its h, in front of pooling and dropout."""

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        depth = network.block_depth - 1 + cls.carries(config)
        return Claims(
            transport="full" if depth else "none",
            backward_depth=depth,
            update_locked=False,
            global_error="none",
            couples="rows" if cls.pairs(config) else network.couples,
        )

    @classmethod
    def recipe(cls, default: Recipe, dataset: str, network: str) -> Recipe:
        """Return a recipe with the dropout of Nøkland & Eidnes 2019 on fully connected networks."""
        return default.model_copy(update={"dropout": 0.1}) if network.startswith("mlp") else default

    @classmethod
    def carries(cls, config: RuleConfig) -> int:
        """Return the number of affine maps of a head that carry the error by their transposes."""
        return 1

    @classmethod
    def pairs(cls, config: RuleConfig) -> bool:
        """Return whether the loss compares pairs of examples."""
        return False

    def shapes(self) -> list[tuple[str, torch.Size]]:
        """Return each block's name and the shape of its h for one example."""
        shapes = self.network.shapes(self.task.shape)
        return [(block.name, shapes[block.layers[-1].name]) for block in self.network.blocks]


class Similarity(LocalLoss):
    """The loss depends on the similarities of all pairs of a batch, and blocks end in a leaky ReLU.

    Inside a block of several layers the network's own activation stays.
    """

    class Config(RuleConfig):
        """Options of a loss on similarities."""

        slope: float = param(
            0.01, low=0.0, high=1.0, help="Slope of a block's last activation below 0; 0 is ReLU"
        )

    config: Similarity.Config

    @classmethod
    def pairs(cls, config: RuleConfig) -> bool:
        return True

    def activate(self, k: int, z: Tensor) -> Tensor:
        return F.leaky_relu(z, self.config.slope)
