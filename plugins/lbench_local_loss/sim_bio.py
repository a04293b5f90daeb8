"""sim_bio: each block learns activities whose similarities match those of random codes."""

from __future__ import annotations

from torch import Tensor, nn

from lbench.config import param
from lbench.init import Init
from lbench.rule import View
from lbench.step import Step
from lbench_local_loss.base import Similarity
from lbench_local_loss.codes import CodedLoss
from lbench_local_loss.heads import FeaturePool, directions, distance


class SimBio(Similarity, CodedLoss):
    """Each block minimises the mean squared distance of S(pooled h) from S(Q e_t).

    S is the matrix of similarities of all pairs of a batch. There is no map in front of the
    similarities, and only the block is trained. This is the variant without weight transport of
    Nøkland & Eidnes 2019 (arXiv:1901.06656), as in its code.
    """

    class Config(Similarity.Config):
        """Options of sim_bio."""

        features: int = param(
            4096, low=1, help="Largest number of values compared; larger feature maps are pooled"
        )

    config: SimBio.Config

    def build(self, init: Init) -> None:
        super().build(init)
        self.pools = nn.ModuleList(
            FeaturePool(shape, self.config.features) for _, shape in self.shapes()
        )

    def loss(self, v: View, s: Step) -> Tensor:
        codes = directions(self.codes[v.k])
        wanted = (codes @ codes.T)[v.target[:, None], s.gather(v.target)]
        return distance(directions(self.pools[v.k](v.h)), wanted, s)
