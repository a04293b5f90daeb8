"""The size of a dataset as published, and the names of copies that have another one.

Every decoded dataset passes through :func:`named`, so that a part of a dataset never has the title
of the whole.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from lbench.data.dataset import Labels, Raw


@dataclass(frozen=True)
class PublishedSize:
    """The numbers of classes and images of a dataset as published.

    Args:
        classes: number of classes.
        train: number of training images.
        test: number of test images.
        balanced: whether all classes have the same number of training images, and all the same
            number of test images.
    """

    classes: int
    train: int
    test: int
    balanced: bool = False

    def difference(self, train: Labels, test: Labels) -> str:
        """Return in which numbers a copy differs, such as ``20,000 of 100,000 training images``.

        Args:
            train: numbers of training images by class, int64, ``(classes of the copy,)``.
            test: numbers of test images by class, likewise.

        Returns:
            A phrase; "" for a copy of the published size.
        """
        present = int(np.count_nonzero(train + test))
        parts = [
            compared(present, self.classes, "classes"),
            compared(int(train.sum()), self.train, "training images"),
            compared(int(test.sum()), self.test, "test images"),
        ]
        if not any(parts) and self.balanced and (uneven(train) or uneven(test)):
            return "classes of other sizes than published"
        return ", ".join(part for part in parts if part)

    def notes(self, train: Labels, test: Labels) -> tuple[str, ...]:
        """Return a sentence per split in which classes differ in size, but not as published."""
        splits = (("Training", train, self.train), ("Test", test, self.test))
        return tuple(
            f"{name} images per class: {counts.min():,} to {counts.max():,}, where the published "
            f"data has {published // self.classes:,}."
            for name, counts, published in splits
            if self.balanced and uneven(counts)
        )


def compared(number: int, published: int, noun: str) -> str:
    """Return a phrase with both numbers; "" if they are equal."""
    if number == published:
        return ""
    return f"{number:,} {'of' if number < published else 'instead of'} {published:,} {noun}"


def uneven(counts: Labels) -> bool:
    """Return whether classes differ in their numbers of images."""
    return int(counts.min()) != int(counts.max())


def named(raw: Raw, size: PublishedSize) -> Raw:
    """Return the data with its title and variant saying how its size differs from the published.

    Args:
        raw: decoded data, checked.
        size: the published size.
    """
    train, test = (
        np.bincount(split.labels, minlength=len(raw.classes)) for split in (raw.train, raw.test)
    )
    difference = size.difference(train, test)
    if not difference:
        return raw
    whole = raw.variant == "canonical"
    return dataclasses.replace(
        raw,
        title=with_remark(raw.title, difference),
        variant=difference if whole else f"{raw.variant}, {difference}",
        notes=(*raw.notes, *size.notes(train, test)),
    )


def with_remark(title: str, remark: str) -> str:
    """Return a title with a remark in parentheses, behind a remark that it has already."""
    if title.endswith(")"):
        return f"{title[:-1]}, {remark})"
    return f"{title} ({remark})"
