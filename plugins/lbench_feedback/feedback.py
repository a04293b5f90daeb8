"""Affine maps whose error goes back through other weights than their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

from lbench.errors import UsageError

Transpose = Callable[[Tensor, Tensor, torch.Size], Tensor]
"""From a cotangent at a map's output, weights, and the shape of its input to one at its input."""


class Feedback(nn.Module):
    """What weights a map's backward pass uses: its own ``weight``.

    A subclass may let them depend on the map's own: ``forward`` is asked in every forward pass.

    Args:
        weight: of the shape and orientation of the map's own.
        kept: it is drawn once and saved with the rule; else it is made anew by build or step.
    """

    weight: Tensor

    def __init__(self, weight: Tensor, *, kept: bool = True) -> None:
        super().__init__()
        if kept:
            self.weight = nn.Parameter(weight, requires_grad=False)
        else:
            self.register_buffer("weight", weight, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """The map's weight, detached, to the weights of its backward pass, of the same shape."""
        return self.weight


class Signed(Feedback):
    """The magnitudes of ``weight``, or one number for all, with the signs of the map's weights."""

    def forward(self, weight: Tensor) -> Tensor:
        return torch.copysign(self.weight, weight)


def bound(affine: nn.Linear | nn.Conv2d) -> float:
    """Of the law of a map's initial weights: they are uniform between -bound and bound."""
    return 1 / math.sqrt(affine.weight[0].numel())


def require_own_weight(name: str, affine: nn.Linear | nn.Conv2d) -> None:
    """Raise an error if a map cannot be given feedback weights beside its own.

    Raises:
        UsageError: its weight is no parameter but made from others, as by weight normalisation.
    """
    if not isinstance(affine.weight, nn.Parameter):
        raise UsageError(
            f"The weight of {name!r} is made from other parameters, and feedback weights take the "
            "place of a weight that is a parameter itself.",
            "Choose a network without weight normalisation and other parametrisations.",
        )


class FeedbackLinear(nn.Linear):
    """A linear map with the parameters of another; its weight's own transpose is never used.

    Args:
        linear: whose parameters these are.
        feedback: what carries the error back.
    """

    def __init__(self, linear: nn.Linear, feedback: Feedback) -> None:
        bias = linear.bias is not None
        super().__init__(linear.in_features, linear.out_features, bias=bias, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.feedback = feedback

    def forward(self, x: Tensor) -> Tensor:
        z = F.linear(x.detach(), self.weight, self.bias)
        return _carried(z, x, self.feedback(self.weight.detach()), self.transpose)

    @staticmethod
    def transpose(cotangent: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """(…, outputs) to (…, inputs)."""
        return cotangent @ weight


class FeedbackConv2d(nn.Conv2d):
    """The same for a convolution: the error goes back through a transposed convolution.

    Args:
        conv: whose parameters these are.
        feedback: what carries the error back.
    """

    def __init__(self, conv: nn.Conv2d, feedback: Feedback) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            cast(tuple[int, int], conv.kernel_size),
            cast(tuple[int, int], conv.stride),
            cast(tuple[int, int], conv.padding),
            cast(tuple[int, int], conv.dilation),
            conv.groups,
            bias=conv.bias is not None,
            device="meta",
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.feedback = feedback

    def forward(self, x: Tensor) -> Tensor:
        z = super().forward(x.detach())
        return _carried(z, x, self.feedback(self.weight.detach()), self.transpose)

    def transpose(self, cotangent: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """(batch, outputs, …) to ``shape``, (batch, inputs, height, width)."""
        sizes = (self.stride, self.padding, self.dilation, self.groups)
        found: Tensor = conv2d_input(shape, weight, cotangent, *sizes)  # type: ignore[no-untyped-call]
        return found


class _Carry(torch.autograd.Function):
    """Returns z. Its cotangent goes back to z as it is, and to x through the feedback weights."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, x: Tensor, weight: Tensor, transpose: Transpose) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.transpose, ctx.shape = transpose, x.shape
        return z.view_as(z)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        below = None
        if ctx.needs_input_grad[1]:
            # Under autocast z and its cotangent are in bfloat16; autograd casts back to x's type.
            below = ctx.transpose(cotangent, weight.to(cotangent.dtype), ctx.shape)
        return cotangent, below, None, None


def _carried(z: Tensor, x: Tensor, weight: Tensor, transpose: Transpose) -> Tensor:
    carried: Tensor = _Carry.apply(z, x, weight, transpose)  # type: ignore[no-untyped-call]
    return carried
