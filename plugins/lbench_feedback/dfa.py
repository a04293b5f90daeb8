"""dfa: direct feedback alignment, which sends the output error straight to every layer."""

from __future__ import annotations

from lbench.claims import Claims
from lbench.config import RuleConfig
from lbench.layer import cut
from lbench.network import Network
from lbench.rule import GradientRule, Grads, differentiate
from lbench.step import Step
from lbench.task import Batch
from lbench_feedback.direct import Direct


class Dfa(Direct, GradientRule):
    """Each layer receives the output error e through its own fixed random B.

    delta_l = (B_l e) * phi'(z_l) at the preactivation of every layer (Nøkland 2016,
    arXiv:1609.01596, Section 2). The layer's normalisation and the readout are differentiated
    exactly. e is the gradient of the mean loss, so hidden gradients are means over the batch too;
    ``reduction=sum`` leaves out their factor 1/batch.
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

    def gradients(self, batch: Batch, s: Step) -> Grads:
        with cut(self.network.layers) as passed:
            logits = self.network(batch.x, s)
        loss, output_error = self.task.output_error(logits, batch.target)
        s.log("loss", loss)
        outputs = [z for _, z in passed]
        deltas = [self.delta(layer, z, output_error) for layer, z in passed]
        return differentiate([*outputs, logits], self._trained, [*deltas, output_error])
