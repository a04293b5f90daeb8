"""usf: uniform sign-concordant feedback, which uses the signs of weights, not their magnitudes."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import nn

from lbench.claims import Claims
from lbench.config import RuleConfig
from lbench.init import Init
from lbench.network import Network
from lbench_feedback.fa import Fa
from lbench_feedback.feedback import Feedback, SignedFeedback, bound


class Usf(Fa):
    """fa with B = s sign(W), for the W of the current step.

    uSF of Liao, Leibo & Poggio 2016 (arXiv:1510.05067), with the scale of Sanfiz & Akrout 2021
    (arXiv:2108.13446): s is the standard deviation of a map's initial weights, here
    1/sqrt(3 inputs), so B and the initial W have the same root mean square.
    """

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return replace(super().claims(config, network), transport="sign", backward_depth="full")

    def feedback(self, name: str, affine: nn.Linear | nn.Conv2d, init: Init) -> Feedback:
        return SignedFeedback(torch.tensor(bound(affine) / math.sqrt(3)), saved=False)
