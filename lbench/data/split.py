"""A validation split that depends on the data, not on the run."""

from __future__ import annotations

import hashlib

import numpy as np

from lbench.data.dataset import Labels
from lbench.errors import DataError, UsageError


def holdout(labels: Labels, fraction: float, digest: str) -> tuple[Labels, Labels]:
    """Split stratified by class, the same for every run on the same data.

    Of a class with n examples, round(fraction * n) are held out, at least 1 and at most
    n - 1 when n > 1; none when ``fraction`` is 0.

    Args:
        labels: ``(n,)``.
        fraction: from 0 to below 1.
        digest: the dataset's; the only source of chance.

    Returns:
        Sorted index arrays, int64: those kept and those held out.

    Raises:
        UsageError: ``fraction`` is not in [0, 1).
        DataError: no class has the two examples that holding one out takes.
    """
    if not 0 <= fraction < 1:
        raise UsageError(
            f"The validation fraction must be at least 0 and below 1, got {fraction}.",
            "The usual fraction is 0.1.",
        )
    held = np.zeros(len(labels), dtype=bool)
    if fraction:
        # Raw output of a bit generator: the only kind of draw that NumPy keeps stable for good.
        seed = hashlib.sha256(f"holdout {digest}".encode()).digest()
        draws = np.random.Philox(key=int.from_bytes(seed[:16], "little")).random_raw(len(labels))
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            count = min(max(round(fraction * len(members)), 1), len(members) - 1)
            held[members[np.argsort(draws[members], kind="stable")[:count]]] = True
        if not held.any():
            raise DataError(
                "The validation split is empty: no class has more than one training image.",
                "Add images, or train on all of them with: --protocol paper",
            )
    return np.flatnonzero(~held).astype(np.int64), np.flatnonzero(held).astype(np.int64)
