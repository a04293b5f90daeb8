"""sim_bio: each block is itself to be as similar between examples as random codes are."""

from __future__ import annotations

from torch import Tensor, nn

from lbench.config import param
from lbench.init import Init
from lbench.rule import View
from lbench.step import Step
from lbench_local_loss.base import Similarity
from lbench_local_loss.codes import Coded
from lbench_local_loss.heads import Pool, directions, distance


class SimBio(Similarity, Coded):
    """A block minimises the mean squared distance of S(pooled h) from S(Q e_t).

    S are the similarities of all pairs of a batch. There is no map before they are taken, and
    nothing is trained but the block (Nøkland & Eidnes 2019, arXiv:1901.06656, the variant without
    weight transport, read in its code).
    """

    class Config(Similarity.Config):
        """Options of sim_bio."""

        features: int = param(
            4096, low=1, help="Most numbers that are compared; larger maps are pooled"
        )

    config: SimBio.Config

    def build(self, init: Init) -> None:
        super().build(init)
        self.pools = nn.ModuleList(Pool(shape, self.config.features) for _, shape in self.shapes())

    def loss(self, v: View, s: Step) -> Tensor:
        codes = directions(self.codes[v.k])
        wanted = (codes @ codes.T)[v.target[:, None], s.gather(v.target)]
        return distance(directions(self.pools[v.k](v.h)), wanted, s)
