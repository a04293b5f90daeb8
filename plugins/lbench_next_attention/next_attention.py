"""next_attention: each neuron moves its activity so that the next layer attends to it more."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal, cast

from torch import Tensor, nn

from lbench.claims import Claims
from lbench.config import RuleConfig, param
from lbench.init import Init
from lbench.layer import Layer, tapped
from lbench.network import Network
from lbench.rule import Group, differentiate, trained
from lbench.step import Step
from lbench.task import Batch
from lbench_feedback.fa import Fa
from lbench_feedback.feedback import Feedback
from lbench_next_attention.maps import Learner, Slope, TopDownConv2d, TopDownLinear, gated


class NextAttention(Fa):
    """Greedy neurons: the update that makes the next layer's weights from them grow.

    A reconstruction: of "Seeking Next Layer Neurons' Attention" (Moakhar et al. 2023,
    arXiv:2310.09952) the abstract alone was available. The attention that neuron i receives is
    A_i = sum_k a(w_ki), with a(w) = |w|^q / q. A neuron k above it that wants its z to change by
    g_k makes the step w_ki += eta g_k h_i, so that A_i grows by eta h_i sum_k a'(w_ki) g_k, and
    what neuron i can do for it is to move h_i:

        g_i = phi'(z_i) sum_k a'(w_ki) g_k,    w_ij += eta g_i h_j,    g = e_t - p on top.

    This is bp with a'(w) = sign(w)|w|^(q-1) in the place of w on the way back: bp itself at q = 2,
    sign symmetry at q = 1.
    """

    class Config(RuleConfig):
        """Options of next_attention."""

        q: float = param(
            1.5, low=1.0, high=2.0, step=0.25, help="Attention is |w|^q / q; at 2 this is bp"
        )
        order: Literal["simultaneous", "topdown"] = param(
            "simultaneous",
            help="All maps are updated at once, or the upper ones first and what goes down to "
            "the lower ones then uses the new weights",
        )
        norm: bool = param(
            False, help="Attention is the share |w|^q / sum |w|^q of all that a receiver pays"
        )
        gate: bool = param(False, help="A neuron learns only in steps in which it gains attention")
        scale: Literal["initial", "none"] = param(
            "initial", help="Initial: a factor a map makes a'(w) as large as w when training begins"
        )

    config: NextAttention.Config

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        options = cast(NextAttention.Config, config)
        couples = "mean" if options.gate else network.couples
        return Claims(
            transport="sign" if options.q == 1 and not options.norm else "full",
            backward_depth="full",
            update_locked=True,
            global_error="vector",
            # What examples share in topdown are the updates of the maps above.
            couples=couples if options.order == "simultaneous" else None,
        )

    def build(self, init: Init) -> None:
        super().build(init)
        if self.config.order == "topdown":
            holders: list[tuple[nn.Module, str]] = [(s, "affine") for s in self.network.layers[1:]]
            for holder, name in [*holders, (self.network.readout, "linear")]:
                affine = getattr(holder, name)
                kind = TopDownLinear if isinstance(affine, nn.Linear) else TopDownConv2d
                setattr(holder, name, kind(affine, affine.feedback))

    def feedback(self, name: str, affine: nn.Linear | nn.Conv2d, init: Init) -> Feedback:
        """a'(W), whose root mean square is that of W when W is uniform in ±1/sqrt(n)."""
        q, n, scale = self.config.q, affine.weight[0].numel(), 1.0
        if self.config.scale == "initial":
            scale = n ** (q / 2 - 1) * math.sqrt((2 * q - 1) / 3)
            if self.config.norm:
                scale *= n ** (1 - q / 2) / (q * (q + 1))
        return Slope(q, self.config.norm, scale)

    def groups(self) -> list[Group]:
        """One; from the top down a group a map, and the rest: the first map, and norms."""
        if self.config.order == "simultaneous":
            return super().groups()
        groups = [Group(name, trained(each, f"{name}.")) for name, each in self.top_down()]
        taken = {name for group in groups for name in group.params}
        rest = {name: p for name, p in trained(self, "").items() if name not in taken}
        return [*groups, Group("rest", rest)]

    def top_down(self) -> list[tuple[str, Learner]]:
        """The maps that are updated on the way back, by their name in the rule."""
        return [
            (name, each)
            for name, each in self.named_modules()
            if isinstance(each, TopDownLinear | TopDownConv2d)
        ]

    def loss(self, batch: Batch, s: Step) -> Tensor:
        if not self.config.gate:
            return super().loss(batch, s)

        def gate(layer: Layer, z: Tensor) -> Tensor:
            return gated(z, s.mean)

        with tapped(self.network.layers, gate):
            return super().loss(batch, s)

    def step(self, batch: Batch, s: Step) -> None:
        if self.config.order == "simultaneous":
            super().step(batch, s)
            return
        with self.learning():
            loss = self.loss(batch, s)
            s.log("loss", loss.detach())
            rest = differentiate(loss, self._groups["rest"])
        self.update("rest", rest)

    @contextmanager
    def learning(self) -> Iterator[None]:
        """A backward pass through the context's graph updates each map when it gets there."""

        def learn(name: str, z: Tensor, cotangent: Tensor) -> None:
            self.update(name, differentiate(z, self._groups[name], cotangent))

        maps = self.top_down()
        for name, each in maps:
            each.learn = partial(learn, name)
        try:
            yield
        finally:
            for _, each in maps:
                each.learn = None
