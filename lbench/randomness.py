"""Addressed randomness: a generator is a function of (run seed, stream, index).

Nothing is stored and nothing touches the global generators. Two rules with the same seed share
data order and every initial weight whose name they share, and resuming needs no generator state.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["normal", "uniform", "sign"]


def address(*parts: int | str) -> int:
    """A 63-bit number that depends on all parts and their order."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class Randomness:
    """The generators of one run."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def generator(
        self, stream: str, index: int = 0, device: torch.device | str = "cpu"
    ) -> torch.Generator:
        """A fresh generator for this address; on the CPU torch uses 32 bits of its seed."""
        return torch.Generator(device).manual_seed(address(self.seed, stream, index))

    def draw(
        self,
        stream: str,
        index: int,
        shape: tuple[int, ...] | torch.Size,
        kind: Kind = "normal",
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """A float32 tensor: standard normal, uniform in [0, 1), or signs (-1 or 1)."""
        generator = self.generator(stream, index, device)
        if kind == "normal":
            return torch.randn(shape, generator=generator, device=device)
        if kind == "uniform":
            return torch.rand(shape, generator=generator, device=device)
        bits = torch.randint(2, shape, generator=generator, device=device)
        return bits.float().mul_(2).sub_(1)
