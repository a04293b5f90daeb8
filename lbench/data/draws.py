"""Random numbers that depend on an address alone, the same on every machine and for all time."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt


def draws(address: str, count: int) -> npt.NDArray[np.uint64]:
    """Draw ``count`` numbers of 64 bits; a hash of the address seeds the generator."""
    # NumPy keeps only the raw output of bit generators stable between versions.
    seed = hashlib.sha256(address.encode()).digest()
    return np.random.Philox(key=int.from_bytes(seed[:16], "little")).random_raw(count)
