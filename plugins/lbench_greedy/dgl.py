"""dgl: decoupled greedy learning of a network's modules."""

from __future__ import annotations

from lbench.config import param
from lbench_greedy.greedy import Greedy
from lbench_greedy.heads import HeadConfig


class Dgl(Greedy):
    """Greedy training of all modules at once, each with a convolutional classifier.

    Belilovsky et al. 2020, arXiv:1901.08164, Algorithm 1. A module is a block of the network;
    ``--blocks K`` cuts the network into K blocks. The classifiers are those that the authors'
    code calls ``cnn``: two hidden convolutions, then means over a 2x2 grid and a linear map.
    """

    class Config(HeadConfig):
        """Options of dgl."""

        k: int = param(
            3, low=1, help="Hidden layers of a classifier, plus one for the module itself"
        )
        pool: int = param(
            2, low=1, help="Side of the grid that feature maps are averaged to for a classifier"
        )

    config: Dgl.Config
