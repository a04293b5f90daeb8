"""dgl: decoupled greedy learning of a network's modules."""

from __future__ import annotations

from lbench.config import param
from lbench_greedy.greedy import Greedy
from lbench_greedy.heads import HeadConfig


class Dgl(Greedy):
    """All modules at once, each with a convolutional classifier (Belilovsky et al. 2020).

    arXiv:1901.08164, Algorithm 1. A module is a block of the network; ``--blocks K`` cuts it into
    K of them. The classifiers are those that the authors' code calls ``cnn``: two hidden
    convolutions, then 2x2 means and a linear map.
    """

    class Config(HeadConfig):
        """Options of dgl."""

        k: int = param(
            3, low=1, help="Hidden layers of a classifier, and one for the module itself"
        )
        pool: int = param(
            2, low=1, help="Side of the grid of means that a classifier sees of feature maps"
        )

    config: Dgl.Config
