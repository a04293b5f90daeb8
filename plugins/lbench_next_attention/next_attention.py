"""next_attention: each neuron changes its activity to get more attention from the next layer."""

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
    """Greedy neurons: each neuron's update increases the next layer's weights on its output.

    This is a reconstruction, since only the abstract of "Seeking Next Layer Neurons' Attention"
    (Moakhar et al. 2023, arXiv:2310.09952) was available. The attention that neuron i receives is
    A_i = sum_k a(w_ki), with a(w) = |w|^q / q. A neuron k of the next layer whose z is to change
    by g_k makes the step w_ki += eta g_k h_i. A_i then grows by eta h_i sum_k a'(w_ki) g_k, and
    neuron i can increase that by changing h_i:

        g_i = phi'(z_i) sum_k a'(w_ki) g_k,    w_ij += eta g_i h_j,    g = e_t - p at the output.

    This is bp with a'(w) = sign(w)|w|^(q-1) in place of w in the backward pass: bp itself at
    q = 2, and sign symmetry at q = 1.
    """

    class Config(RuleConfig):
        """Options of next_attention."""

        q: float = param(
            1.5, low=1.0, high=2.0, step=0.25, help="Exponent of attention |w|^q / q; 2 is bp"
        )
        order: Literal["simultaneous", "topdown"] = param(
            "simultaneous",
            help="Update all affine maps at once, or from the output down, where the feedback to "
            "lower maps uses the new weights of upper ones",
        )
        norm: bool = param(
            False, help="Attention is the share |w|^q / sum |w|^q of a receiver's weights"
        )
        gate: bool = param(False, help="A neuron learns only in steps in which it gains attention")
        scale: Literal["initial", "none"] = param(
            "initial",
            help="initial: one factor per map makes a'(w) as large as the initial w, if q is not 2",
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
            # With topdown, examples are coupled through the updates of the maps above.
            couples=couples if options.order == "simultaneous" else None,
        )

    def build(self, init: Init) -> None:
        super().build(init)
        if self.config.order == "topdown":
            holders: list[tuple[nn.Module, str]] = [
                (layer, "affine") for layer in self.network.layers[1:]
            ]
            for holder, name in [*holders, (self.network.readout, "linear")]:
                affine = getattr(holder, name)
                kind = TopDownLinear if isinstance(affine, nn.Linear) else TopDownConv2d
                setattr(holder, name, kind(affine, affine.feedback))

    def feedback(self, name: str, affine: nn.Linear | nn.Conv2d, init: Init) -> Feedback:
        """Return a'(W), scaled to the root mean square of W if W is uniform in ±1/sqrt(n)."""
        q, n, scale = self.config.q, affine.weight[0].numel(), 1.0
        if self.config.scale == "initial":
            scale = n ** (q / 2 - 1) * math.sqrt((2 * q - 1) / 3)
            if self.config.norm:
                scale *= n ** (1 - q / 2) / (q * (q + 1))
        return Slope(q, self.config.norm, scale)

    def groups(self) -> list[Group]:
        """Return one group, or with topdown one per affine map above the first and one of the rest.

        The rest are the first map and the parameters of normalisations.
        """
        if self.config.order == "simultaneous":
            return super().groups()
        groups = [Group(name, trained(affine, f"{name}.")) for name, affine in self.top_down()]
        grouped = {name for group in groups for name in group.params}
        rest = {name: p for name, p in trained(self, "").items() if name not in grouped}
        return [*groups, Group("rest", rest)]

    def top_down(self) -> list[tuple[str, Learner]]:
        """Return the maps that are updated in the backward pass, with their names in the rule."""
        return [
            (name, module)
            for name, module in self.named_modules()
            if isinstance(module, TopDownLinear | TopDownConv2d)
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
        """Let a backward pass within the context update each map when it reaches the map."""

        def learn(name: str, z: Tensor, cotangent: Tensor) -> None:
            self.update(name, differentiate(z, self._groups[name], cotangent))

        maps = self.top_down()
        for name, affine in maps:
            affine.learn = partial(learn, name)
        try:
            yield
        finally:
            for _, affine in maps:
                affine.learn = None
