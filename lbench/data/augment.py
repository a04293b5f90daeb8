"""Random augmentations of a batch of images, on its device, in uint8, for all images at once."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from lbench.data.operations import (
    Crop,
    Cutout,
    Flip,
    Jitter,
    Operation,
    ResizedCrop,
    Translate,
)
from lbench.errors import UsageError, unknown

OPERATIONS: dict[str, type[Operation]] = {
    "resizedcrop": ResizedCrop,
    "crop": Crop,
    "translate": Translate,
    "flip": Flip,
    "jitter": Jitter,
    "cutout": Cutout,
}
"""The operations, in the order in which they are applied, in any order of their names."""

LISTING = (
    "Augmentations are crop<pixels>, translate<pixels>, cutout<pixels>, flip, "
    "resizedcrop<percent> and jitter<percent>, such as 'crop4,flip' or 'resizedcrop,flip'."
)


@dataclass(frozen=True)
class Augmentation:
    """Operations in their canonical order; false if there are none. ``parse`` reads ``str``."""

    operations: tuple[tuple[str, Operation], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Augmentation:
        """Read ``"crop4,flip"``; ``""`` is none.

        Raises:
            UsageError: a name is unknown or named twice, or an amount is wrong.
        """
        operations: dict[str, Operation] = {}
        for word in filter(None, (part.strip() for part in text.split(","))):
            match = re.fullmatch(r"([a-z_]+)(\d*)", word)
            name, digits = match.groups() if match else (word, "")
            if name not in OPERATIONS:
                raise unknown("augmentation", word, OPERATIONS, listing=LISTING)
            if name in operations:
                raise UsageError(f"The augmentation {text!r} names {name} twice.", LISTING)
            operations[name] = OPERATIONS[name](_amount(name, word, digits))
        return cls(tuple((name, operations[name]) for name in OPERATIONS if name in operations))

    def __str__(self) -> str:
        return ",".join(f"{name}{op.amount or ''}" for name, op in self.operations)

    def __bool__(self) -> bool:
        return bool(self.operations)

    @property
    def resized_crop(self) -> ResizedCrop | None:
        """Return the random resized crop, which is the first operation; None if there is none."""
        operation = self.operations[0][1] if self.operations else None
        return operation if isinstance(operation, ResizedCrop) else None

    def without_resized_crop(self) -> Augmentation:
        """Return the other operations."""
        return Augmentation(self.operations[1:] if self.resized_crop else self.operations)

    def check(self, height: int, width: int) -> None:
        """Check that the operations fit images of this size.

        Raises:
            UsageError: a shift could remove a whole image, or a flip cannot change any.
        """
        for name, operation in self.operations:
            operation.check(name, height, width)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change a batch.

        Args:
            images: ``(batch, channels, height, width)``, any dtype, any device.
            generator: a CPU generator, so that every device draws the same numbers.

        Returns:
            A new tensor like ``images``; ``images`` itself does not change.
        """
        for _, operation in self.operations:
            drawn = operation.placed(operation.draw(len(images), generator), *images.shape[2:])
            images = operation.apply(images, drawn.to(images.device, non_blocking=True))
        return images


def _amount(name: str, word: str, digits: str) -> int:
    """Return the amount of an operation that was given as ``word``.

    Raises:
        UsageError: it needs a number and has none, or the number does not fit.
    """
    operation = OPERATIONS[name]
    if not operation.unit:
        fits, takes = not digits, "takes no number"
    elif operation.unit == "percent":
        fits = not digits or 0 < int(digits) <= 100
        takes = "takes a number of percent from 1 to 100"
    else:
        fits, takes = bool(digits) and int(digits) > 0, "needs a number of pixels above 0"
    if not fits:
        raise UsageError(f"The augmentation {name} {takes}, got {word!r}.", LISTING)
    return int(digits) if digits else operation.usual
