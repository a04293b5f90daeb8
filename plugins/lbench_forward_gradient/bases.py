"""Base classes of forward-gradient rules: averages over draws of noise, heads and claims."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from lbench.claims import Claims
from lbench.config import RuleConfig, param
from lbench.init import Init
from lbench.network import Network, spatial_mean
from lbench.rule import GradientRule, Grads, Group, LocalRule, trained
from lbench.step import Step
from lbench.task import Batch


class ForwardGradientConfig(RuleConfig):
    """Options that all rules with perturbations share."""

    perturbations: int = param(
        1, low=1, high=1000, help="Draws of noise per step, averaged; each is one forward pass"
    )
    readout_lr: float = param(
        1.0,
        low=0.0,
        high=10.0,
        help="Factor on the readout's learning rate, whose gradient is exact; the paper's is 0.1",
    )


class Estimate(NamedTuple):
    """The result of one draw of noise.

    Args:
        value: the loss of the network, or the h of a block; the same in every draw.
        grads: gradients by parameter name, estimated where there is noise and exact elsewhere.
    """

    value: Tensor
    grads: dict[str, Tensor]


def mean(estimate: Callable[[int], Estimate], count: int) -> Estimate:
    """Return the mean of ``count`` independent estimates, with one of them in memory at a time."""
    value, grads = estimate(0)
    for draw in range(1, count):
        for name, grad in estimate(draw).grads.items():
            grads[name] = grads[name] + grad
    return Estimate(value, {name: g / count for name, g in grads.items()} if count > 1 else grads)


class ForwardGradient(GradientRule):
    """A rule that multiplies noise by the directional derivative of the network's loss."""

    config: ForwardGradientConfig

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        one = one_draw(config)
        return Claims(
            transport="scalar" if one else None,
            backward_depth=0 if one else None,
            update_locked=True,
            global_error="scalar" if one else None,
            couples=network.couples,
        )

    def groups(self) -> list[Group]:
        named = trained(self.network, "network.")
        blocks = {n: p for n, p in named.items() if not n.startswith("network.readout.")}
        return [
            Group("blocks", blocks),
            Group(
                "readout",
                trained(self.network.readout, "network.readout."),
                lr=self.config.readout_lr,
            ),
        ]

    def gradients(self, batch: Batch, s: Step) -> Grads:
        loss, grads = mean(lambda draw: self.estimate(batch, s, draw), self.config.perturbations)
        s.log("loss", loss)
        return grads

    def estimate(self, batch: Batch, s: Step, draw: int) -> Estimate:
        """Return the loss and the gradients from one draw of noise."""
        raise NotImplementedError(f"{type(self).__name__} has no estimate")


class LocalForwardGradient(LocalRule):
    """A rule that multiplies noise by directional derivatives of each block's own loss.

    A linear head on the spatial mean of a block's h gives the local loss; its gradient is exact.
    """

    config: ForwardGradientConfig

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        one = one_draw(config)
        return Claims(
            transport="scalar" if one else None,
            backward_depth=0 if one else None,
            update_locked=False,
            global_error="none",
            couples=network.couples,
        )

    def build(self, init: Init) -> None:
        self.heads = linear_heads(self.network, self.task.classes, init)

    def groups(self) -> list[Group]:
        *blocks, readout = super().groups()
        return [*blocks, Group(readout.name, readout.params, lr=self.config.readout_lr)]

    def train_block(self, k: int, x: Tensor, batch: Batch, s: Step) -> Tensor:
        h, grads = mean(
            lambda draw: self.estimate(k, x, batch.target, s, draw), self.config.perturbations
        )
        self.update(f"block{k}", grads)
        with torch.no_grad():
            return self.network.blocks[k].emit(h, s)

    def estimate(self, k: int, x: Tensor, target: Tensor, s: Step, draw: int) -> Estimate:
        """Return the h and the gradients of block ``k`` from one draw of noise."""
        raise NotImplementedError(f"{type(self).__name__} has no estimate")

    def replicated(self, k: int, h: Tensor, tangent: Tensor, target: Tensor) -> ReplicatedLoss:
        """Return the local logits and the terms of the loss's directional derivative.

        Args:
            k: index of the block.
            h: its activation, (batch, channels, …).
            tangent: the tangent of h, of the same shape.
            target: labels, (batch,).
        """
        logits = self.heads[k](spatial_mean(h))
        _, output_error = self.task.output_error(logits, target)
        with torch.no_grad():
            return ReplicatedLoss(
                logits, output_error, cotangent(self.heads[k], output_error, h) * tangent
            )


def one_draw(config: RuleConfig) -> bool:
    """Return whether there is one draw per step, so that each example sends a unit one number.

    The audit distinguishes that from a vector; with more draws the rules claim nothing.
    """
    return cast(ForwardGradientConfig, config).perturbations == 1


class ReplicatedLoss(NamedTuple):
    """The local loss of a block, for the replicated losses of Ren et al. 2023.

    Args:
        logits: the logits of the head, (batch, classes), with a graph to the head.
        output_error: gradient of the mean loss at the logits.
        products: cotangent times tangent at h, (batch, channels, …). Summed over the channels of
            a group, this is the directional derivative of the loss of that position and group.
    """

    logits: Tensor
    output_error: Tensor
    products: Tensor


def linear_heads(network: Network, classes: int, init: Init) -> nn.ModuleList:
    """Return one linear classifier per block, for the spatial mean of the block's h."""
    return nn.ModuleList(
        init.linear(f"heads.{k}", block.width, classes) for k, block in enumerate(network.blocks)
    )


def cotangent(head: nn.Module, output_error: Tensor, h: Tensor) -> Tensor:
    """Return the gradient of a head's loss at h, in closed form, with size 1 along positions.

    The head averages over positions, so the gradient is the same at all of them.

    Args:
        head: a linear map of the spatial mean of h.
        output_error: gradient of the loss at the head's logits, (batch, classes).
        h: the activation, (batch, channels, …).
    """
    weight = cast(nn.Linear, head).weight
    mean_grad = output_error @ weight
    return mean_grad.view(*h.shape[:2], *[1] * (h.dim() - 2)) / h[0, 0].numel()
