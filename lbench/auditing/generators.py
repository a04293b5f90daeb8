"""Isolation of the global random generators during a measurement."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def seeded(seed: int, touched: set[str] | None = None) -> Iterator[None]:
    """Seed the global generators within the context, and restore their states after it.

    Args:
        touched: receives the names of the generators that were drawn from.
    """
    before = _states()
    random.seed(seed)
    np.random.seed(seed)
    _seed_torch(seed)
    start = _states()
    try:
        yield
    finally:
        end = _states()
        if touched is not None:
            touched |= {name for name in start if not _equal(start[name], end[name])}
        random.setstate(before["random"])
        np.random.set_state(before["numpy"])
        torch.set_rng_state(before["torch"][0])
        for device, state in enumerate(before["torch"][1:]):
            torch.cuda.set_rng_state(state, device)


def _seed_torch(seed: int) -> None:
    """Seed PyTorch's generators of all available devices."""
    if torch.cuda.is_available():
        torch.manual_seed(seed)
    else:
        # torch.manual_seed formats a stack trace for each device that is not available.
        torch.default_generator.manual_seed(seed)


def _states() -> dict[str, Any]:
    initialized = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = torch.cuda.get_rng_state_all() if initialized else []
    return {
        "torch": (torch.get_rng_state(), *cuda),
        "numpy": np.random.get_state(),
        "random": random.getstate(),
    }


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, tuple) and any(isinstance(a, torch.Tensor | np.ndarray) for a in one):
        return all(_equal(a, b) for a, b in zip(one, other, strict=True))
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else bool(one == other)
