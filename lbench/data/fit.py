"""How images of any size become squares of one size."""

from __future__ import annotations

from dataclasses import dataclass

from lbench.data.crop_box import Numbers, crop_boxes
from lbench.data.dataset import Pixels
from lbench.data.images import Box, decode_box


@dataclass(frozen=True, slots=True)
class Fit:
    """The centre of an image: its shorter side is resized, then a square is cropped.

    Args:
        size: height and width of the square in pixels.
        resize: length of the shorter side before the crop, at least ``size``.
    """

    size: int
    resize: int

    def centre(self, width: int, height: int) -> Box:
        """Return the box of the square in the coordinates of the whole image."""
        shorter = min(width, height)
        sides = [max(self.resize, round(side * self.resize / shorter)) for side in (width, height)]
        left, top = ((side - self.size) // 2 for side in sides)
        across, down = width / sides[0], height / sides[1]
        right, bottom = left + self.size, top + self.size
        return left * across, top * down, right * across, bottom * down

    def decode(self, data: bytes, name: str, crop: RandomCrop | None = None) -> Pixels:
        """Decode the centre of an image file, or a random crop, resized to the square.

        Returns:
            uint8, ``(3, size, size)``.

        Raises:
            DataError: the file is damaged; the message has ``name``.
        """
        if crop is None:
            return decode_box(data, name, self.size, self.centre, cut=False)
        return decode_box(data, name, self.size, crop.box, cut=True)


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """A random resized crop of one image, which is determined when the image's size is known.

    Args:
        uniform: numbers in [0, 1), ``(NUMBERS,)``, see :func:`lbench.data.crop_box.crop_boxes`.
        smallest: smallest share of the image's area.
    """

    uniform: Numbers
    smallest: float

    def box(self, width: int, height: int) -> Box:
        """Return the box in an image of this size."""
        boxes = crop_boxes(self.uniform[:, None], self.smallest, height, width)
        left, top, right, bottom = boxes[:, 0].tolist()
        return left, top, right, bottom
