"""fa: feedback alignment, which carries the output error back through fixed random weights."""

from __future__ import annotations

from torch import Tensor, nn

from lbench.claims import Claims
from lbench.config import RuleConfig
from lbench.init import Init
from lbench.network import Network
from lbench.rule import GradientRule
from lbench.step import Step
from lbench.task import Batch
from lbench_feedback.feedback import (
    Feedback,
    FeedbackConv2d,
    FeedbackLinear,
    bound,
    require_own_weight,
)


class Fa(GradientRule):
    """Backpropagation with a fixed random B in place of each W in the backward pass.

    dL/dh_{l-1} = B_l^T dL/dz_l (Lillicrap et al. 2016, Nature Communications 7:13276). Everything
    else is exact: the gradients of W and the bias given dL/dz, activations, normalisations,
    pooling and shortcuts. The first affine map needs no feedback, since no trained parameter is
    below it.
    """

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return Claims(
            transport="none",
            backward_depth=0,
            update_locked=True,
            global_error="vector",
            couples=network.couples,
        )

    def build(self, init: Init) -> None:
        self.maps: dict[str, FeedbackLinear | FeedbackConv2d] = {}
        _, *later = self.network.layers
        for layer in later:
            require_own_weight(layer.name, layer.affine)
            feedback = self.feedback(layer.name, layer.affine, init)
            if isinstance(layer.affine, nn.Linear):
                layer.affine = self.maps[layer.name] = FeedbackLinear(layer.affine, feedback)
            else:
                layer.affine = self.maps[layer.name] = FeedbackConv2d(layer.affine, feedback)
        readout = self.network.readout
        require_own_weight("readout", readout.linear)
        feedback = self.feedback("readout", readout.linear, init)
        readout.linear = self.maps["readout"] = FeedbackLinear(readout.linear, feedback)

    def feedback(self, name: str, affine: nn.Linear | nn.Conv2d, init: Init) -> Feedback:
        """Return the feedback weights of an affine map: B from the initial distribution of W."""
        return Feedback(init.uniform(f"feedback/{name}", affine.weight.shape, bound(affine)))

    def loss(self, batch: Batch, s: Step) -> Tensor:
        return self.task.loss(self.network(batch.x, s), batch.target)
