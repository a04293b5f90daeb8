"""sim: each block learns features whose pairwise similarities match those of the labels."""

from __future__ import annotations

from torch import Tensor, nn

from lbench.init import Init
from lbench.rule import View
from lbench.step import Step
from lbench_local_loss.base import Similarity
from lbench_local_loss.heads import similarity_loss, similarity_map


class Sim(Similarity):
    """Each block minimises L_sim, the mean squared distance of S(T h) from S(one-hot labels).

    S is the matrix of similarities of all pairs of a batch. T is a linear map or a 3x3
    convolution that learns with its block (Nøkland & Eidnes 2019, arXiv:1901.06656, Section 2,
    and its code where the text is silent).
    """

    class Config(Similarity.Config):
        """Options of sim."""

    config: Sim.Config

    def build(self, init: Init) -> None:
        super().build(init)
        self.maps = nn.ModuleList(
            similarity_map(init, name, shape) for name, shape in self.shapes()
        )

    def loss(self, v: View, s: Step) -> Tensor:
        return similarity_loss(self.maps[v.k](v.h), v.target, self.task.classes, s)
