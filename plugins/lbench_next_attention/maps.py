"""How attention goes back through a map, in whichever order maps are updated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lbench_feedback.feedback import Feedback, FeedbackConv2d, FeedbackLinear

Learn = Callable[[Tensor, Tensor], None]


class Slope(Feedback):
    """By how much a receiver's weights change the attention that it pays: a'(w), for each w.

    Args:
        q: the exponent of a(w) = |w|^q / q.
        share: attention is the share |w|^q / sum_j |w_j|^q of the receiver's; each weight's
            derivative is its own, with the others held.
        scale: factor on all of it.
    """

    def __init__(self, q: float, share: bool, scale: float) -> None:
        nn.Module.__init__(self)
        self.q = q
        self.share = share
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        """Weights (receivers, …) to a' of the same shape."""
        slope = weight.sign() if self.q == 1 else weight.abs().pow_(self.q - 1).copysign_(weight)
        if self.share:
            power = weight.abs().pow_(self.q)
            total = power.flatten(1).sum(1).view(-1, *[1] * (weight.dim() - 1))
            total.clamp_min_(torch.finfo(weight.dtype).tiny)
            slope *= (1 - power / total) * (self.q / total)
        return slope.mul_(self.scale)


class TopDownLinear(FeedbackLinear):
    """A map that is updated on the way back, before its new weights carry the error further.

    While ``learn`` is there, it gets the map's z, with a graph to its parameters, and the
    cotangent there.
    """

    learn: Learn | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.learn is None:
            return super().forward(x)
        return _learning(nn.Linear.forward(self, x.detach()), x, self, self.learn)


class TopDownConv2d(FeedbackConv2d):
    """The same for a convolution."""

    learn: Learn | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.learn is None:
            return super().forward(x)
        return _learning(nn.Conv2d.forward(self, x.detach()), x, self, self.learn)


Learner = TopDownLinear | TopDownConv2d


class _Learn(torch.autograd.Function):
    """Returns z. Its cotangent ends in an update of the map, and goes to x after it."""

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
    learning: Tensor = _Learn.apply(z, x, affine, learn)  # type: ignore[no-untyped-call]
    return learning


class _Gate(torch.autograd.Function):
    """Returns z. The cotangents of neurons that lose attention in this step become 0."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, mean: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(z)
        ctx.mean = mean
        return z.view_as(z)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        (z,) = ctx.saved_tensors
        loss = ctx.mean(z * cotangent)
        seen = loss.view(len(loss), -1).sum(1) < 0
        return cotangent * seen.view(-1, *[1] * (z.dim() - 2)), None


def gated(z: Tensor, mean: Callable[[Tensor], Tensor]) -> Tensor:
    """Scores (batch, neurons, …) whose cotangents reach only neurons that gain attention.

    A receiver's step -dL/dw_i times a'(w_i), over all its uses, is -h_i times the cotangent at
    h_i; behind ReLU that is -z_i times the cotangent at z_i.
    """
    passed: Tensor = _Gate.apply(z, mean)  # type: ignore[no-untyped-call]
    return passed
