"""A validation split and a subset of the labels that depend on the data, not on the run."""

from __future__ import annotations

import numpy as np

from lbench.data.dataset import Labels
from lbench.data.draws import draws
from lbench.errors import DataError, UsageError


def holdout(labels: Labels, fraction: float, digest: str) -> tuple[Labels, Labels]:
    """Split examples by class; the split is the same for every run on the same data.

    Of a class with n examples, round(fraction * n) are held out, at least 1 and at most
    n - 1 when n > 1; none when ``fraction`` is 0.

    Args:
        labels: ``(n,)``.
        fraction: from 0 to below 1.
        digest: the dataset's; the only source of chance.

    Returns:
        Sorted index arrays, int64: of the examples that stay and of those held out.

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
        drawn = draws(f"holdout {digest}", len(labels))
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            count = min(max(round(fraction * len(members)), 1), len(members) - 1)
            held[members[np.argsort(drawn[members], kind="stable")[:count]]] = True
        if not held.any():
            raise DataError(
                "The validation split is empty: no class has more than one training image.",
                "Add images, or train on all of them with: --protocol paper",
            )
    return np.flatnonzero(~held).astype(np.int64), np.flatnonzero(held).astype(np.int64)


def labelled(labels: Labels, share: float, digest: str) -> Labels:
    """Choose the examples that keep their labels when only a share of them does.

    The choice is stratified by class, the same for every run on the same data, and nested: the
    examples of a share are among those of every larger share. Of a class with n examples,
    round(share * n) are chosen, at least 1.

    Args:
        labels: ``(n,)``, of the training part.
        share: above 0, at most 1.
        digest: the dataset's; the only source of chance.

    Returns:
        Sorted indices, int64.

    Raises:
        UsageError: ``share`` is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise UsageError(
            f"The share of labels must be above 0 and at most 1, got {share}.",
            "1 % of the training labels is 0.01.",
        )
    if share == 1:
        return np.arange(len(labels), dtype=np.int64)
    drawn = draws(f"labels {digest}", len(labels))
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = max(round(share * len(members)), 1)
        chosen.append(members[np.argsort(drawn[members], kind="stable")[:count]])
    return np.sort(np.concatenate(chosen)).astype(np.int64)
