"""Affine maps whose backward pass uses other weights than their own."""

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
"""Cotangent at a map's output, feedback weights and shape of its input, to cotangent there."""


class Feedback(nn.Module):
    """The weights that the backward pass of an affine map uses.

    Every forward pass of the map calls ``forward``, so a subclass can make the feedback weights
    depend on the map's weight.

    Args:
        weight: the feedback weights, with the shape and orientation of the map's weight.
        saved: whether they are saved with the rule; otherwise ``build`` or a step makes them anew.
    """

    weight: Tensor

    def __init__(self, weight: Tensor, *, saved: bool = True) -> None:
        super().__init__()
        if saved:
            self.weight = nn.Parameter(weight, requires_grad=False)
        else:
            self.register_buffer("weight", weight, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the feedback weights for the map's detached weight, of the same shape."""
        return self.weight


class SignedFeedback(Feedback):
    """Feedback weights with the magnitudes of ``weight`` and the signs of the map's weight.

    ``weight`` is one number for all entries, or has the shape of the map's weight.
    """

    def forward(self, weight: Tensor) -> Tensor:
        return torch.copysign(self.weight, weight)


def bound(affine: nn.Linear | nn.Conv2d) -> float:
    """Return b, where the initial weights of an affine map are uniform in [-b, b]."""
    return 1 / math.sqrt(affine.weight[0].numel())


def require_own_weight(name: str, affine: nn.Linear | nn.Conv2d) -> None:
    """Raise an error if the weight of an affine map is not a parameter.

    Raises:
        UsageError: the weight is computed from other parameters, as by weight normalisation.
    """
    if not isinstance(affine.weight, nn.Parameter):
        raise UsageError(
            f"The weight of {name!r} is computed from other parameters, but feedback weights can "
            "only replace a weight that is itself a parameter.",
            "Choose a network without weight normalisation and other parametrisations.",
        )


class FeedbackLinear(nn.Linear):
    """A linear map whose backward pass uses feedback weights in place of its transposed weight.

    Args:
        linear: the map whose parameters this one takes over.
        feedback: the feedback weights.
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
        """Map a cotangent (…, outputs) to (…, inputs)."""
        return cotangent @ weight


class FeedbackConv2d(nn.Conv2d):
    """A convolution whose backward pass is a transposed convolution with feedback weights.

    Args:
        conv: the convolution whose parameters this one takes over.
        feedback: the feedback weights.
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
        """Map a cotangent (batch, outputs, …) to ``shape``, (batch, inputs, height, width)."""
        sizes = (self.stride, self.padding, self.dilation, self.groups)
        x_grad: Tensor = conv2d_input(shape, weight, cotangent, *sizes)  # type: ignore[no-untyped-call]
        return x_grad


class _Carry(torch.autograd.Function):
    """Identity on z whose cotangent reaches z unchanged, and x through the feedback weights."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, x: Tensor, weight: Tensor, transpose: Transpose) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.transpose, ctx.shape = transpose, x.shape
        return z.view_as(z)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        x_grad = None
        if ctx.needs_input_grad[1]:
            # Under autocast z and its cotangent are in bfloat16; autograd casts to the type of x.
            x_grad = ctx.transpose(cotangent, weight.to(cotangent.dtype), ctx.shape)
        return cotangent, x_grad, None, None


def _carried(z: Tensor, x: Tensor, weight: Tensor, transpose: Transpose) -> Tensor:
    carried: Tensor = _Carry.apply(z, x, weight, transpose)  # type: ignore[no-untyped-call]
    return carried
