"""Blocks that are trained by losses of their own: local heads, decoders, recurrent blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.auditing.snippets.step import CLASSES, INPUTS, WIDTH, Batch, Snippet, three


class LocalHeads(nn.Module):
    """Blocks with one head per block; ``forward`` detaches the output of each block."""

    def __init__(
        self, wrap: Callable[[nn.Linear], nn.Module] = lambda layer: layer, shared: bool = False
    ) -> None:
        super().__init__()
        sizes = [INPUTS, WIDTH, WIDTH, WIDTH]
        self.blocks = nn.ModuleList(wrap(nn.Linear(*sizes[k : k + 2])) for k in range(3))
        one = wrap(nn.Linear(WIDTH, CLASSES))
        self.heads = nn.ModuleList(
            one if shared else wrap(nn.Linear(WIDTH, CLASSES)) for _ in self.blocks
        )
        self.logits: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for block, head in zip(self.blocks, self.heads, strict=True):
            x = block(x.detach()).relu()
            outputs.append(head(x))
        self.logits = outputs
        return outputs[-1]


@torch.no_grad()
def without_a_graph(model: nn.Module, x: Tensor) -> Tensor:
    logits = cast(Tensor, model(x))
    cast(LocalHeads, model).logits = []
    return logits


def detach_in_forward(
    wrap: Callable[[nn.Linear], nn.Module] = lambda layer: layer, shared: bool = False
) -> Callable[[], Snippet]:
    def build() -> Snippet:
        model = LocalHeads(wrap, shared)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

        def step(model: nn.Module, batch: Batch) -> None:
            local = cast(LocalHeads, model)
            local(batch[0])
            optimizer.zero_grad()
            for logits in local.logits:
                F.cross_entropy(logits, batch[1]).backward()
            optimizer.step()
            local.logits = []

        pairs = list(zip(model.blocks, model.heads, strict=True))
        units: dict[str, list[nn.Module]] = {
            f"block{k}": [block] if shared else [block, head]
            for k, (block, head) in enumerate(pairs)
        }
        if shared:
            units["head"] = [model.heads[0]]
        return Snippet(step, model, units=units, predict=without_a_graph)

    return build


class TiedLayer(nn.Linear):
    """A layer that is trained to reconstruct its input through its own transposed weights."""

    def reconstruct(self, h: Tensor) -> Tensor:
        """Return the reconstruction: (batch, outputs) to (batch, inputs)."""
        return F.linear(h, self.weight.T)


def tied_decoders() -> Snippet:
    model = three(lambda layer: TiedLayer(layer.in_features, layer.out_features))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: nn.Module, batch: Batch) -> None:
        optimizer.zero_grad()
        h = batch[0]
        for layer in [m for m in model.children() if isinstance(m, TiedLayer)]:
            x, h = h.detach(), layer(h.detach()).relu()
            F.mse_loss(layer.reconstruct(h), x).backward()
        optimizer.step()

    return Snippet(step, model)


class RecurrentBlock(nn.Module):
    """A recurrent block with a head of its own, and a readout that is trained separately."""

    def __init__(self, through_time: bool) -> None:
        super().__init__()
        self.through_time = through_time
        self.inputs, self.again = nn.Linear(5, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.readout = nn.Linear(WIDTH, CLASSES)

    def states(self, x: Tensor) -> list[Tensor]:
        """Return the states, (batch, units), after each of four inputs."""
        h = torch.zeros(len(x), WIDTH, dtype=x.dtype)
        outputs = []
        for token in x.view(len(x), 4, 5).unbind(1):
            h = torch.tanh(self.inputs(token) + self.again(h if self.through_time else h.detach()))
            outputs.append(h)
        return outputs

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.readout(self.states(x)[-1].detach()))


def recurrent(through_time: bool) -> Callable[[], Snippet]:
    def build() -> Snippet:
        model = RecurrentBlock(through_time)
        local = [*model.inputs.parameters(), *model.again.parameters(), *model.head.parameters()]
        first = torch.optim.SGD(local, lr=0.1)
        second = torch.optim.SGD(model.readout.parameters(), lr=0.1)

        def step(model: nn.Module, batch: Batch) -> None:
            block = cast(RecurrentBlock, model)
            states = block.states(batch[0])
            first.zero_grad()
            losses = [F.cross_entropy(block.head(h), batch[1]) for h in states]
            (losses[-1] if through_time else torch.stack(losses).sum()).backward()
            first.step()
            second.zero_grad()
            F.cross_entropy(block.readout(states[-1].detach()), batch[1]).backward()
            second.step()

        units = {
            "block": [model.inputs, model.again, model.head],
            "readout": [model.readout],
        }
        return Snippet(step, model, units=units)

    return build
