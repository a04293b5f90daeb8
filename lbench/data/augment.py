"""Random augmentations of a batch of images, on its device, in uint8, for all images at once."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lbench.errors import UsageError, unknown


@dataclass(frozen=True)
class Operation(ABC):
    """One kind of augmentation.

    Args:
        amount: in pixels; 0 for an operation without one.
    """

    amount: int = 0

    @abstractmethod
    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw integers ``(k, count)`` on the CPU, one column per image."""

    @abstractmethod
    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Return images ``(count, c, h, w)`` changed by the drawn integers, in the same shape."""


class Crop(Operation):
    """``crop<p>``: p zeros on every side, then a window of the old size at a random position.

    This is torchvision's ``RandomCrop(size, padding=p)``: all 2p + 1 offsets per axis are equally
    likely. The drawn integers are row and column of the window in the padded image, 0..2p.
    """

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw row and column of each window."""
        return torch.randint(2 * self.amount + 1, (2, count), generator=generator)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Cut the windows out."""
        count, _, height, width = images.shape
        windows = F.pad(images, (self.amount,) * 4).unfold(2, height, 1).unfold(3, width, 1)
        return windows[torch.arange(count, device=images.device), :, drawn[0], drawn[1]]


class Translate(Crop):
    """``translate<p>``: a shift by up to p pixels per axis, filled up with zeros.

    This is torchvision's ``RandomAffine(0, translate=(p / width, p / height))``: the shift is a
    uniform real number in [-p, p], rounded, so that its two ends are half as likely as the shifts
    between. This is the one difference from ``crop<p>``; the drawn integers are the same.
    """

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw row and column of each window, from rounded shifts."""
        shifts = (2 * torch.rand(2, count, generator=generator) - 1) * self.amount
        return self.amount - shifts.round().long()


class Flip(Operation):
    """``flip``: left and right are exchanged with probability one half; drawn are 0 or 1."""

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw which images are flipped."""
        return torch.randint(2, (1, count), generator=generator)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Flip the drawn images."""
        return torch.where(drawn[0].bool().view(-1, 1, 1, 1), images.flip(-1), images)


OPERATIONS: dict[str, type[Operation]] = {"crop": Crop, "translate": Translate, "flip": Flip}
"""The operations, in the order in which they are applied, in any order of their names."""

LISTING = "Augmentations are crop<pixels>, translate<pixels> and flip, such as 'crop4,flip'."


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
            if (name == "flip") == bool(digits) or (digits and not int(digits)):
                takes = "takes no number" if name == "flip" else "needs a number of pixels above 0"
                raise UsageError(f"The augmentation {name} {takes}, got {word!r}.", LISTING)
            operations[name] = OPERATIONS[name](int(digits or 0))
        return cls(tuple((name, operations[name]) for name in OPERATIONS if name in operations))

    def __str__(self) -> str:
        return ",".join(f"{name}{op.amount or ''}" for name, op in self.operations)

    def __bool__(self) -> bool:
        return bool(self.operations)

    def check(self, height: int, width: int) -> None:
        """Check that the operations fit images of this size.

        Raises:
            UsageError: a shift could remove a whole image, or a flip cannot change any.
        """
        for name, operation in self.operations:
            if operation.amount >= min(height, width):
                raise UsageError(
                    f"The augmentation {name}{operation.amount} can push images of "
                    f"{height}x{width} out of the frame.",
                    f"Use fewer than {min(height, width)} pixels.",
                )
        if width == 1 and any(name == "flip" for name, _ in self.operations):
            raise UsageError(
                f"The augmentation flip cannot act: images of {height}x1 are their own mirror.",
                "Leave flip out.",
            )

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change a batch.

        Args:
            images: ``(batch, channels, height, width)``, any dtype, any device.
            generator: a CPU generator, so that every device draws the same numbers.

        Returns:
            A new tensor like ``images``; ``images`` itself does not change.
        """
        for _, operation in self.operations:
            drawn = operation.draw(len(images), generator)
            images = operation.apply(images, drawn.to(images.device, non_blocking=True))
        return images
