"""Chance that depends on an address alone, the same on every machine and for good."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt


def draws(address: str, count: int) -> npt.NDArray[np.uint64]:
    """Draw ``count`` numbers of 64 bits, addressed by a hash of the text."""
    # Raw output of a bit generator: the only kind of draw that NumPy keeps stable for good.
    seed = hashlib.sha256(address.encode()).digest()
    return np.random.Philox(key=int.from_bytes(seed[:16], "little")).random_raw(count)
