"""The activations of a rule's blocks during prediction."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lbench.layer import Layer, tapped
from lbench.probe import Examples
from lbench.rule import Rule

CHUNK = 500
"""Examples per batch."""


def hidden(rule: Rule, x: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
    """Return z and h, by index, of every block that runs when the rule predicts.

    If a block runs several times, they are those of its first run. The next block's input is
    ``block.emit(h)``.
    """
    blocks = rule.network.blocks
    last = {id(block.layers[-1]): k for k, block in enumerate(blocks)}
    preactivations: dict[int, Tensor] = {}

    def collect(layer: Layer, z: Tensor) -> Tensor:
        preactivations.setdefault(last[id(layer)], z)
        return z

    with tapped([block.layers[-1] for block in blocks], collect):
        rule.predict(x)
    return {k: (z, rule.activate(k, z)) for k, z in sorted(preactivations.items())}


def chunks(examples: Examples, idx: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images and labels at these indices, or all, in batches of ``CHUNK`` examples."""
    if idx is None:
        idx = torch.arange(len(examples))
    idx = idx.to(examples.labels.device)
    for start in range(0, len(idx), CHUNK):
        yield examples.batch(idx[start : start + CHUNK])
