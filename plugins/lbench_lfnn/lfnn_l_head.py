"""lfnn_l_head: lfnn_l whose workers score classes by linear heads that learn with them."""

from __future__ import annotations

from typing import ClassVar

from lbench.config import param
from lbench.rule import LocalRule
from lbench_lfnn.lfnn_l_rr import LfnnLRr


class LfnnLHead(LfnnLRr):
    """``lfnn_l_rr`` with trained readouts, which have a bias too.

    A head learns from its worker's loss: a leader's from the cross-entropy, a follower's from the
    distance to the best leader (losses of Yin et al. 2023, arXiv:2310.07885, Section 2; its
    released code has a head a block). One worker that leads is ``lg_bp``.
    """

    class Config(LfnnLRr.Config):
        """Options of lfnn_l_head."""

        scale: float = param(1.0, low=0.25, high=64.0, log=True, help="Factor on a head's logits")

    config: LfnnLHead.Config
    trained_readouts: ClassVar[bool] = True

    # A head behind z learns through the loss alone.
    cotangent = LocalRule.cotangent  # type: ignore[assignment]
