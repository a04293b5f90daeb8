"""Noise at every z or in every weight, carried forward beside the activations as dual numbers."""

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


class Noisy(NamedTuple):
    """A layer that was perturbed.

    Args:
        layer: whose z it was.
        z: with a graph to the layer's parameters and nothing else.
        u: its noise, of the same shape.
    """

    layer: Layer
    z: Tensor
    u: Tensor


class Perturbation:
    """A tap that adds noise to the tangent of each layer's z, and cuts the graph there.

    Ren et al. 2023 (arXiv:2210.03310), Section 3: noise acts behind the normalisation and before
    the activation, independent for each example and unit, and for each pass through a layer that
    acts several times. Used within :func:`forward_mode`.

    Args:
        s: the step, which draws the noise.
        activate: what stands behind each layer.
        mask: leave out the units whose noise the activation does not let through.
        draw: number of the draw within the step.
    """

    def __init__(
        self, s: Step, activate: Callable[[Tensor], Tensor], *, mask: bool, draw: int
    ) -> None:
        self.s = s
        self.activate = activate
        self.mask = mask
        self.draw = draw
        self.noisy: list[Noisy] = []
        self.passes: Counter[str] = Counter()  # by layer

    def __call__(self, layer: Layer, z: Tensor) -> Tensor:
        """A dual number of constants: the value, and the tangent with the noise in it."""
        value, tangent = split(z)
        self.passes[layer.name] += 1
        again = f"/{count}" if (count := self.passes[layer.name]) > 1 else ""
        name = f"perturbation/{self.draw}/{layer.name}{again}"
        u = self.s.noise(name, value.shape).to(value.dtype)
        constant = value.detach()
        if self.mask:
            passed = split(self.activate(dual(constant, u))).tangent
            u = u if passed is None else u.masked_fill(passed == 0, 0)
        self.noisy.append(Noisy(layer, value, u))
        # See same_dtype.
        return dual(constant, u if tangent is None else u + tangent.detach().to(u.dtype))


@contextmanager
def forward_mode() -> Iterator[None]:
    """Within the context tensors may be dual numbers.

    Raises:
        UsageError: the network has an operation without a forward derivative in PyTorch, such as
            ``torch.nn.utils.parametrizations.weight_norm``.
    """
    with forward_ad.dual_level():
        try:
            yield
        except NotImplementedError as error:
            if not (found := re.search(r"forward AD with (\S+)", str(error))):
                raise
            raise UsageError(
                f"This rule takes directional derivatives in a pass forward, but PyTorch has no "
                f"forward derivative of {found[1]}, which this network uses.",
                "Choose a network without it, or another rule.",
            ) from error


def same_dtype(_: Layer, z: Tensor) -> Tensor:
    """A tap: a normalisation in bfloat16 has its tangent in float32, with which no map goes on."""
    value, tangent = split(z)
    return z if tangent is None else dual(value, tangent.to(value.dtype))


def directions(params: Mapping[str, nn.Parameter], s: Step, draw: int) -> dict[str, Tensor]:
    """v: noise for each of these parameters, shared by the batch."""
    return {
        name: s.noise(f"perturbation/{draw}/{name}", p.shape).to(p.dtype)
        for name, p in params.items()
    }


def along(rule: Rule, v: Mapping[str, Tensor], draw: int, *args: Any) -> Parts:
    """``rule(*args)`` and its derivative along v, with a graph to all parameters but v's.

    BatchNorm's statistics change in a step's first draw alone.
    """
    params = dict(rule.named_parameters())
    state = dict(rule.named_buffers()) if draw else {}
    state = {name: buffer.clone() for name, buffer in state.items()}
    with forward_mode(), tapped(rule.network.layers, same_dtype):
        state |= {name: dual(params[name].detach(), u) for name, u in v.items()}
        return split(functional_call(rule, state, args))


class Parts(NamedTuple):
    """A value and its tangent, None where nothing was perturbed."""

    value: Tensor
    tangent: Tensor | None


def dual(value: Tensor, tangent: Tensor) -> Tensor:
    """The dual number of these parts."""
    made: Tensor = forward_ad.make_dual(value, tangent)  # type: ignore[no-untyped-call]
    return made


def split(t: Tensor) -> Parts:
    """The parts of a dual number."""
    return Parts(*forward_ad.unpack_dual(t))  # type: ignore[no-untyped-call]


def by_example(slope: Tensor, u: Tensor) -> Tensor:
    """Each example's number (batch,) times its part of u (batch, …)."""
    return slope.view(-1, *[1] * (u.dim() - 1)) * u


def check(rule: str, network: Network) -> None:
    """Directional derivatives are taken for each example, so examples may not be coupled.

    Raises:
        UsageError: the network has BatchNorm.
    """
    if network.couples != "none":
        raise UsageError(
            f"Rule {rule} takes a directional derivative for each example, but the BatchNorm of "
            "this network makes an example's loss depend on the rest of its batch.",
            "Add --net norm=group, or norm=none.",
        )
