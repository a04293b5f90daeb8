"""Addressed randomness: a generator is a function of (run seed, stream, index).

No state is stored, and the global generators are not used. Two rules with the same seed share the
order of the data and every initial weight whose name they share. Resuming needs no generator state.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["normal", "uniform", "sign"]


def address(*parts: int | str) -> int:
    """Return a 63-bit number that depends on all parts and their order."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class Randomness:
    """The generators of one run.

    Args:
        seed: the run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def generator(
        self, stream: str, index: int = 0, device: torch.device | str = "cpu"
    ) -> torch.Generator:
        """Return a new generator for this address; on the CPU torch uses 32 bits of its seed."""
        return torch.Generator(device).manual_seed(address(self.seed, stream, index))

    def draw(
        self,
        stream: str,
        index: int,
        shape: tuple[int, ...] | torch.Size,
        kind: Kind = "normal",
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw a float32 tensor: standard normal, uniform in [0, 1), or signs (-1 or 1)."""
        generator = self.generator(stream, index, device)
        if kind == "normal":
            return torch.randn(shape, generator=generator, device=device)
        if kind == "uniform":
            return torch.rand(shape, generator=generator, device=device)
        bits = torch.randint(2, shape, generator=generator, device=device)
        return bits.float().mul_(2).sub_(1)
