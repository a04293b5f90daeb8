"""dfa: direct feedback alignment, the output error sent straight to every site."""

from __future__ import annotations

from lbench.claims import Claims
from lbench.config import RuleConfig
from lbench.network import Network
from lbench.rule import GradientRule, Grads, differentiate
from lbench.site import cut
from lbench.step import Step
from lbench.task import Batch
from lbench_feedback.direct import Direct


class Dfa(Direct, GradientRule):
    """Each site gets the output error e through a fixed random B of its own.

    delta_l = (B_l e) * phi'(z_l) (Nøkland 2016, arXiv:1609.01596, Section 2), at the z of every
    site; the site's own norm is differentiated exactly, and so is the readout. e is the gradient
    of the mean loss, so that hidden gradients are means over the batch too; ``reduction=sum``
    leaves out their 1/batch.
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
        with cut(self.network.sites) as passed:
            scores = self.network(batch.x, s)
        loss, error = self.task.error(scores, batch.target)
        s.log("loss", loss)
        outputs = [z for _, z in passed]
        deltas = [self.delta(site, z, error) for site, z in passed]
        return differentiate([*outputs, scores], self._trained, [*deltas, error])
