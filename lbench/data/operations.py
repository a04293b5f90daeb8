"""The operations of an augmentation; each changes all images of a batch at once, in uint8."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lbench.data.crop_box import NUMBERS, crop_boxes
from lbench.errors import UsageError

GREY = 0.2989, 0.587, 0.114
"""Weights of red, green and blue in the grey value (ITU-R BT.601), as in torchvision."""


@dataclass(frozen=True)
class Operation(ABC):
    """One kind of augmentation.

    Class attributes:
        unit: unit of the amount; "" for an operation without one.
        usual: the amount if none is given; 0 where it must be given.
        loss: what an amount in pixels that is too large does to images of a size.

    Args:
        amount: a whole number in this unit; 0 for an operation without one.
    """

    unit: ClassVar[str] = "pixels"
    usual: ClassVar[int] = 0
    loss: ClassVar[str] = "push images of {} out of the frame"

    amount: int = 0

    @abstractmethod
    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw numbers ``(k, count)`` on the CPU, one column per image."""

    def placed(self, drawn: Tensor, height: int, width: int) -> Tensor:
        """Return the numbers that ``apply`` takes for images of this size, from those drawn."""
        return drawn

    @abstractmethod
    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Return images ``(count, c, h, w)`` changed by the numbers, in the same shape."""

    def check(self, name: str, height: int, width: int) -> None:
        """Check that the operation fits images of this size.

        Args:
            name: name of the operation, for the message.
            height: of the images.
            width: of the images.

        Raises:
            UsageError: it could remove a whole image, or cannot change any.
        """
        if self.unit == "pixels" and self.amount >= min(height, width):
            damage = self.loss.format(f"{height}x{width}")
            raise UsageError(
                f"The augmentation {name}{self.amount} can {damage}.",
                f"Use fewer than {min(height, width)} pixels.",
            )


class ResizedCrop(Operation):
    """``resizedcrop<p>``: a random box of the image, resized to the size of the images.

    The area of the box is p % (8 if not given, as published) to 100 % of the image, its aspect
    ratio 3/4 to 4/3: see :func:`lbench.data.crop_box.crop_boxes`. Streamed images are cropped when
    they are decoded, from the whole image of the file; images in memory are interpolated here.
    """

    unit = "percent"
    usual = 8

    @property
    def smallest(self) -> float:
        """Return the smallest share of the image's area."""
        return self.amount / 100

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw uniform numbers in [0, 1), which address a box in an image of any size."""
        return torch.rand(NUMBERS, count, generator=generator, dtype=torch.float64)

    def placed(self, drawn: Tensor, height: int, width: int) -> Tensor:
        """Return the boxes: left, top, right and bottom, ``(4, count)``."""
        return torch.from_numpy(crop_boxes(drawn.numpy(), self.smallest, height, width))

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Interpolate bilinearly inside the boxes."""
        height, width = images.shape[2:]
        left, top, right, bottom = drawn.float()
        zero = torch.zeros_like(left)
        # From coordinates of the result, -1 to 1, to those of the image.
        rows = [
            torch.stack([(right - left) / width, zero, (right + left) / width - 1]),
            torch.stack([zero, (bottom - top) / height, (bottom + top) / height - 1]),
        ]
        theta = torch.stack(rows).permute(2, 0, 1)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        cropped = F.grid_sample(
            images.float(), grid, "bilinear", padding_mode="border", align_corners=False
        )
        return cropped.round_().to(images.dtype)


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

    unit = ""

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw which images are flipped."""
        return torch.randint(2, (1, count), generator=generator)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Flip the drawn images."""
        return torch.where(drawn[0].bool().view(-1, 1, 1, 1), images.flip(-1), images)

    def check(self, name: str, height: int, width: int) -> None:
        """Check that images have more than one column.

        Raises:
            UsageError: they are their own mirror.
        """
        if width == 1:
            raise UsageError(
                f"The augmentation flip cannot act: images of {height}x1 are their own mirror.",
                "Leave flip out.",
            )


class Jitter(Operation):
    """``jitter<p>``: brightness, contrast and saturation change by up to p % (40 if not given).

    Each has a factor of its own, uniform from 1 - p/100 to 1 + p/100, as in torchvision's
    ``ColorJitter(a, a, a)`` with a = p/100, which applies the three in a random order; here the
    order is fixed, and the values are rounded once, at the end. Images of one channel keep their
    saturation.
    """

    unit = "percent"
    usual = 40

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw the factors of brightness, contrast and saturation."""
        return 1 + (2 * torch.rand(3, count, generator=generator) - 1) * self.amount / 100

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Blend each image with black, with its mean grey and with its grey image."""
        brightness, contrast, saturation = drawn.view(3, -1, 1, 1, 1)
        bright = (images.float() * brightness).clamp_(0, 255)
        mean = _grey(bright).mean((2, 3), keepdim=True)
        jittered = torch.lerp(mean, bright, contrast).clamp_(0, 255)
        if images.shape[1] == 3:
            jittered = torch.lerp(_grey(jittered), jittered, saturation).clamp_(0, 255)
        return jittered.round_().to(images.dtype)


def _grey(images: Tensor) -> Tensor:
    """Return the grey values of images, ``(n, 1, height, width)``."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    weights = torch.tensor(GREY, device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


class Cutout(Operation):
    """``cutout<p>``: a square of p by p pixels becomes zero, cut off at the border.

    Its centre is uniform over the pixels (DeVries and Taylor 2017, arXiv:1708.04552). Zeros are
    black, as in the borders of ``crop``; the paper's are the mean of standardised images.
    """

    loss = "cover images of {}"

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw row and column of each centre, uniform in [0, 1)."""
        return torch.rand(2, count, generator=generator)

    def placed(self, drawn: Tensor, height: int, width: int) -> Tensor:
        """Return row and column of the first pixel of each square, which may be negative."""
        size = torch.tensor([[height], [width]])
        return (drawn * size).long().clamp_(max=size - 1) - self.amount // 2

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Set the squares to zero."""
        inside = [
            (start.view(-1, 1) <= torch.arange(length, device=images.device))
            & (torch.arange(length, device=images.device) < start.view(-1, 1) + self.amount)
            for start, length in zip(drawn, images.shape[2:], strict=True)
        ]
        square = inside[0].unsqueeze(2) & inside[1].unsqueeze(1)
        return images.masked_fill(square.unsqueeze(1), 0)
