"""Noise at every z or in every weight, carried forward with the activations as dual numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call

from lbench.errors import UsageError
from lbench.layer import Layer, tapped
from lbench.network import Network
from lbench.rule import Rule
from lbench.step import Step


class PerturbedLayer(NamedTuple):
    """A perturbed layer.

    Args:
        layer: the layer.
        z: its preactivation, with a graph to the layer's parameters and nothing else.
        u: the noise at z, of the same shape.
    """

    layer: Layer
    z: Tensor
    u: Tensor


class Perturbation:
    """A tap that adds noise to the tangent of each layer's z, and cuts the graph there.

    Ren et al. 2023 (arXiv:2210.03310), Section 3: the noise is added behind the normalisation and
    in front of the activation. It is independent for each example and unit, and for each pass
    through a layer that acts several times. Use it within :func:`forward_mode`.

    Args:
        s: the step, which draws the noise.
        activate: the activation behind each layer.
        mask: set the noise to 0 at units whose activation has slope 0.
        draw: index of the draw within the step.
    """

    def __init__(
        self, s: Step, activate: Callable[[Tensor], Tensor], *, mask: bool, draw: int
    ) -> None:
        self.s = s
        self.activate = activate
        self.mask = mask
        self.draw = draw
        self.layers: list[PerturbedLayer] = []
        self.passes: Counter[str] = Counter()  # by layer name

    def __call__(self, layer: Layer, z: Tensor) -> Tensor:
        """Return a dual number without a graph: the value of z, and its tangent plus the noise."""
        value, tangent = split(z)
        self.passes[layer.name] += 1
        again = f"/{count}" if (count := self.passes[layer.name]) > 1 else ""
        name = f"perturbation/{self.draw}/{layer.name}{again}"
        u = self.s.noise(name, value.shape).to(value.dtype)
        constant = value.detach()
        if self.mask:
            h_tangent = split(self.activate(dual(constant, u))).tangent
            u = u if h_tangent is None else u.masked_fill(h_tangent == 0, 0)
        self.layers.append(PerturbedLayer(layer, value, u))
        # The function same_dtype says why the tangent is cast.
        return dual(constant, u if tangent is None else u + tangent.detach().to(u.dtype))


@contextmanager
def forward_mode() -> Iterator[None]:
    """Allow tensors to be dual numbers within the context.

    Raises:
        UsageError: PyTorch has no forward derivative of an operation of the network, such as
            ``torch.nn.utils.parametrizations.weight_norm``.
    """
    with forward_ad.dual_level():
        try:
            yield
        except NotImplementedError as error:
            if not (match := re.search(r"forward AD with (\S+)", str(error))):
                raise
            raise UsageError(
                f"This rule takes directional derivatives in a forward pass, but PyTorch has no "
                f"forward derivative of {match[1]}, which this network uses.",
                "Choose a network without this operation, or another rule.",
            ) from error


def same_dtype(_: Layer, z: Tensor) -> Tensor:
    """Return z with its tangent cast to the dtype of its value; for use as a tap.

    The tangent of a normalisation in bfloat16 is float32, and the next affine map rejects that.
    """
    value, tangent = split(z)
    return z if tangent is None else dual(value, tangent.to(value.dtype))


def directions(params: Mapping[str, nn.Parameter], s: Step, draw: int) -> dict[str, Tensor]:
    """Draw v, noise of the shape of each parameter, shared by the batch."""
    return {
        name: s.noise(f"perturbation/{draw}/{name}", p.shape).to(p.dtype)
        for name, p in params.items()
    }


def along(rule: Rule, v: Mapping[str, Tensor], draw: int, *args: Any) -> DualParts:
    """Return ``rule(*args)`` and its derivative along v.

    Both have a graph to all parameters except those in v. The running statistics of BatchNorm
    change in the first draw of a step only.
    """
    params = dict(rule.named_parameters())
    state = dict(rule.named_buffers()) if draw else {}
    state = {name: buffer.clone() for name, buffer in state.items()}
    with forward_mode(), tapped(rule.network.layers, same_dtype):
        state |= {name: dual(params[name].detach(), u) for name, u in v.items()}
        return split(functional_call(rule, state, args))


class DualParts(NamedTuple):
    """A value and its tangent; the tangent is None if nothing was perturbed."""

    value: Tensor
    tangent: Tensor | None


def dual(value: Tensor, tangent: Tensor) -> Tensor:
    """Return the dual number with this value and tangent."""
    number: Tensor = forward_ad.make_dual(value, tangent)  # type: ignore[no-untyped-call]
    return number


def split(t: Tensor) -> DualParts:
    """Split a dual number into its value and its tangent."""
    return DualParts(*forward_ad.unpack_dual(t))  # type: ignore[no-untyped-call]


def by_example(slope: Tensor, u: Tensor) -> Tensor:
    """Multiply each example's u (batch, …) by the example's number in ``slope`` (batch,)."""
    return slope.view(-1, *[1] * (u.dim() - 1)) * u


def check(rule: str, network: Network) -> None:
    """Raise an error if the network couples the examples of a batch.

    The rules that call this take a directional derivative per example.

    Raises:
        UsageError: the network has BatchNorm.
    """
    if network.couples != "none":
        raise UsageError(
            f"Rule {rule} takes a directional derivative for each example, but the BatchNorm of "
            "this network makes an example's loss depend on the rest of its batch.",
            "Add --net norm=group or --net norm=none.",
        )
