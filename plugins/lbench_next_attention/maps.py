"""Affine maps with attention as feedback weights, updated at once or from the top down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lbench_feedback.feedback import Feedback, FeedbackConv2d, FeedbackLinear

Learn = Callable[[Tensor, Tensor], None]


class Slope(Feedback):
    """The derivative a'(w) of the attention that a receiver pays, with respect to its weights.

    Args:
        q: the exponent of a(w) = |w|^q / q.
        share: whether attention is the share |w|^q / sum_j |w_j|^q of the receiver's weights; the
            derivative for each weight holds the other weights constant.
        scale: factor on a'(w).
    """

    def __init__(self, q: float, share: bool, scale: float) -> None:
        nn.Module.__init__(self)
        self.q = q
        self.share = share
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        """Map weights (receivers, …) to a' of the same shape."""
        slope = weight.sign() if self.q == 1 else weight.abs().pow_(self.q - 1).copysign_(weight)
        if self.share:
            power = weight.abs().pow_(self.q)
            total = power.flatten(1).sum(1).view(-1, *[1] * (weight.dim() - 1))
            total.clamp_min_(torch.finfo(weight.dtype).tiny)
            slope *= (1 - power / total) * (self.q / total)
        return slope.mul_(self.scale)


class TopDownLinear(FeedbackLinear):
    """A linear map that is updated in the backward pass; its new weights carry the error further.

    If ``learn`` is set, the backward pass calls it with the map's output, which has a graph to
    its parameters, and the cotangent of that output.
    """

    learn: Learn | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.learn is None:
            return super().forward(x)
        return _learning(nn.Linear.forward(self, x.detach()), x, self, self.learn)


class TopDownConv2d(FeedbackConv2d):
    """A convolution that is updated in the backward pass, as :class:`TopDownLinear`."""

    learn: Learn | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.learn is None:
            return super().forward(x)
        return _learning(nn.Conv2d.forward(self, x.detach()), x, self, self.learn)


Learner = TopDownLinear | TopDownConv2d


class _Learn(torch.autograd.Function):
    """Identity on z whose cotangent first updates the map, and then goes to x."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, x: Tensor, affine: Learner, learn: Learn) -> Tensor:
        ctx.save_for_backward(z)
        ctx.affine, ctx.learn, ctx.shape = affine, learn, x.shape
        return z.view_as(z)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        (z,) = ctx.saved_tensors
        affine = ctx.affine
        ctx.learn(z, cotangent)
        weight = affine.feedback(affine.weight.detach()).to(cotangent.dtype)
        return None, affine.transpose(cotangent, weight, ctx.shape), None, None


def _learning(z: Tensor, x: Tensor, affine: Learner, learn: Learn) -> Tensor:
    output: Tensor = _Learn.apply(z, x, affine, learn)  # type: ignore[no-untyped-call]
    return output


class _Gate(torch.autograd.Function):
    """Identity on z that sets the cotangents of neurons that gain no attention to 0."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, mean: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(z)
        ctx.mean = mean
        return z.view_as(z)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        (z,) = ctx.saved_tensors
        change = ctx.mean(z * cotangent)  # minus the attention that is gained
        gains = change.view(len(change), -1).sum(1) < 0
        return cotangent * gains.view(-1, *[1] * (z.dim() - 2)), None


def gated(z: Tensor, mean: Callable[[Tensor], Tensor]) -> Tensor:
    """Return z with a gate: cotangents reach only neurons that gain attention in this step.

    The attention gained is a receiver's step -dL/dw_i times a'(w_i), summed over all its uses.
    That is -h_i times the cotangent at h_i, and -z_i times the cotangent at z_i behind ReLU.

    Args:
        z: preactivations, (batch, neurons, …).
        mean: mean over the examples of the batch.
    """
    output: Tensor = _Gate.apply(z, mean)  # type: ignore[no-untyped-call]
    return output
