"""fg_local: the network's gradient, projected onto the gradient of each block's local loss."""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench.claims import Claims
from lbench.config import RuleConfig
from lbench.init import Init
from lbench.layer import tapped
from lbench.network import Network, spatial_mean
from lbench.rule import GradientRule, Grads, differentiate
from lbench.step import Step
from lbench.task import Batch
from lbench_forward_gradient.bases import cotangent, linear_heads
from lbench_forward_gradient.perturbation import (
    by_example,
    check,
    dual,
    forward_mode,
    same_dtype,
    split,
)


class FgLocal(GradientRule):
    """Each block's gradient at h is the network's, projected onto the local gradient.

    Fournier et al. 2023 (arXiv:2306.06968), with a local guess and a global target, in activity
    space. The guess u_b is the gradient at a block's h of the loss of its own linear head, which
    learns on detached features. The target g_b is the gradient of the network's loss at h. The
    estimate for each example and block is

        (<g_b, u_b> / |u_b|^2) u_b

    where the product comes from a forward pass through the blocks above. Inside the block the
    estimate is backpropagated exactly. The last block and the readout have exact gradients.
    """

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return Claims(
            transport="full",
            # With a single block the rule is bp.
            backward_depth=network.block_depth if len(network.blocks) > 1 else "full",
            update_locked=True,
            global_error="vector",
            couples=network.couples,
        )

    def build(self, init: Init) -> None:
        check("fg_local", self.network)
        self.heads = linear_heads(self.network, self.task.classes, init)[:-1]

    def gradients(self, batch: Batch, s: Step) -> Grads:
        *blocks, last = self.network.blocks
        features: list[Tensor] = []
        x = batch.x
        for block in blocks:
            features.append(block.activate(block.preactivation(x, s)))
            x = block.emit(features[-1].detach(), s)
        logits = self.network.readout(last(x, s))
        loss, output_error = self.task.output_error(logits, batch.target)
        s.log("loss", loss)
        outputs, cotangents = [logits], [output_error]
        for k, (head, h) in enumerate(zip(self.heads, features, strict=True)):
            local_logits = head(spatial_mean(h.detach()))
            _, local_output_error = self.task.output_error(local_logits, batch.target)
            with torch.no_grad():
                unit = direction(head, local_output_error, h)
                slope = (output_error * self.derivative(k, h.detach(), unit, s)).sum(1)
            outputs += [local_logits, h]
            cotangents += [local_output_error, by_example(slope, unit)]
        return differentiate(outputs, self._trained, cotangents)

    def derivative(self, k: int, h: Tensor, tangent: Tensor, s: Step) -> Tensor:
        """Return the derivative of the logits along a tangent of block ``k``'s h.

        Args:
            k: index of the block.
            h: its activation, (batch, channels, …), detached.
            tangent: of the same shape.
            s: the step.

        Returns:
            A tensor (batch, classes).
        """
        with forward_mode(), tapped(self.network.layers, same_dtype):
            x = self.network.blocks[k].emit(dual(h, tangent), s)
            for block in islice(self.network.blocks, k + 1, None):
                x = block(x, s)
            logits_tangent = split(self.network.readout(x)).tangent
        assert logits_tangent is not None
        return logits_tangent


def direction(head: nn.Module, output_error: Tensor, h: Tensor) -> Tensor:
    """Return u_b / |u_b| at h for each example, of the shape of h; 0 where u_b is 0."""
    guess = cotangent(head, output_error, h).expand_as(h)
    return F.normalize(guess.flatten(1), eps=1e-30).view_as(h).to(h.dtype)
