"""What blocks make of an input while the rule predicts."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lbench.layer import Layer, tapped
from lbench.probe import Examples
from lbench.rule import Rule

CHUNK = 500
"""Examples at a time."""


def hidden(rule: Rule, x: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
    """Z and h of every block that runs when the rule predicts; of its first run, where it has more.

    What the block passes on is ``block.emit(h)``.
    """
    blocks = rule.network.blocks
    last = {id(block.layers[-1]): k for k, block in enumerate(blocks)}
    found: dict[int, Tensor] = {}

    def look(layer: Layer, z: Tensor) -> Tensor:
        found.setdefault(last[id(layer)], z)
        return z

    with tapped([block.layers[-1] for block in blocks], look):
        rule.predict(x)
    return {k: (z, rule.activate(k, z)) for k, z in sorted(found.items())}


def chunks(examples: Examples, idx: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and labels at these indices, or all, a part at a time."""
    if idx is None:
        idx = torch.arange(len(examples))
    idx = idx.to(examples.labels.device)
    for start in range(0, len(idx), CHUNK):
        yield examples.batch(idx[start : start + CHUNK])
