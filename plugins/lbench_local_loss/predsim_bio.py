"""predsim_bio: each block predicts random codes of the labels and matches their similarity."""

from __future__ import annotations

from lbench.config import param
from lbench_local_loss.pred_bio import PredBio
from lbench_local_loss.predsim import MixedLoss
from lbench_local_loss.sim_bio import SimBio


class PredSimBio(MixedLoss, SimBio, PredBio):
    """Each block minimises (1 − beta)·L_pred + beta·L_sim, with the losses of pred_bio and sim_bio.

    Both use the same code of the label. This is the variant without weight transport of Nøkland &
    Eidnes 2019 (arXiv:1901.06656), as in its code. Here beta is small: 0.01.
    """

    components = (PredBio, SimBio)

    class Config(MixedLoss.Config, SimBio.Config, PredBio.Config):
        """Options of predsim_bio."""

        beta: float = param(0.01, low=0.0, high=1.0, help="Share of the similarity loss")

    config: PredSimBio.Config
