"""Fixed permutations of pixel positions."""

from __future__ import annotations

import dataclasses

import numpy as np

from lbench.data.dataset import Labels, Pixels, Raw, Split
from lbench.data.draws import draws
from lbench.data.file_split import FileSplit


def permutation(key: str, shape: tuple[int, int, int]) -> Labels:
    """Draw a random order of the pixels: int64, ``(height * width,)``.

    Position p of a permuted image shows the pixel at position ``order[p]``, all its channels
    together.

    Args:
        key: names the permutation; with the shape it alone determines the result.
        shape: (channels, height, width) of an image.
    """
    channels, height, width = shape
    drawn = draws(f"permute {key} {channels}x{height}x{width}", height * width)
    return np.argsort(drawn, kind="stable").astype(np.int64)


def permuted(raw: Raw, seed: int) -> Raw:
    """Permute the pixels of all images of both splits with the permutation of ``seed``."""
    _, *shape = raw.train.images.shape
    order = permutation(str(seed), (shape[0], shape[1], shape[2]))
    note = f", pixels permuted ({seed})"
    return dataclasses.replace(
        raw,
        title=raw.title + note,
        variant=raw.variant + note,
        train=with_order(raw.train, order),
        test=with_order(raw.test, order),
    )


def with_order(split: Split, order: Labels) -> Split:
    """Return a split whose images have their pixels in this order."""
    if isinstance(split, FileSplit):
        return dataclasses.replace(split, order=order)
    return Split(reorder(split.images, order), split.labels)


def reorder(images: Pixels, order: Labels) -> Pixels:
    """Return a copy of images ``(n, channels, height, width)`` with their pixels in this order."""
    flat = images.reshape(*images.shape[:2], -1)
    return np.ascontiguousarray(flat[:, :, order]).reshape(images.shape)
