"""lg_fg_w: forward gradient of each block's local loss with weight perturbation."""

from __future__ import annotations

from torch import Tensor

from lbench.init import Init
from lbench.rule import differentiate, trained
from lbench.step import Step
from lbench_forward_gradient.bases import Estimate, ForwardGradientConfig, LocalForwardGradient
from lbench_forward_gradient.contraction import channel_groups, contract_groups
from lbench_forward_gradient.perturbation import along, directions


class LgFgW(LocalForwardGradient):
    """Noise in a block's weights, times the derivative of the local losses that they can change.

    v ~ N(0, I) is drawn once per step for the block's parameters and shared by the batch. a_g is
    the directional derivative of the local loss through the channels of group g alone: the
    replicated losses of Ren et al. 2023 (arXiv:2210.03310), Section 4, summed over examples and
    positions. The part of v that feeds group g is multiplied by a_g, and the part that feeds all
    groups by the sum of all a_g.
    """

    class Config(ForwardGradientConfig):
        """Options of lg_fg_w."""

    config: LgFgW.Config

    def build(self, init: Init) -> None:
        super().build(init)
        passes = self.network.passes(self.task.shape)
        self.channel_groups: list[dict[str, int]] = []  # by block and parameter name
        for k, block in enumerate(self.network.blocks):
            by_layer = channel_groups(block, passes)
            layer_of = {p: layer for layer in block.layers for p in layer.parameters()}
            named = trained(block, f"network.blocks.{k}.")
            self.channel_groups.append({name: by_layer[layer_of[p]] for name, p in named.items()})

    def forward(self, k: int, x: Tensor, s: Step) -> Tensor:
        """Return the h of block ``k``, whose tangent is taken."""
        return self.activate(k, self.network.blocks[k].preactivation(x, s))

    def estimate(self, k: int, x: Tensor, target: Tensor, s: Step, draw: int) -> Estimate:
        groups, params = self.channel_groups[k], self._groups[f"block{k}"]
        v = directions({name: params[name] for name in groups}, s, draw)
        h, tangent = along(self, v, draw, k, x, s)
        assert tangent is not None
        logits, output_error, products = self.replicated(k, h, tangent, target)
        grads = contract_groups(products, v, groups)
        own = {name: p for name, p in params.items() if name not in groups}
        return Estimate(h, grads | differentiate(logits, own, output_error))
