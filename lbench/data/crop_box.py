"""Boxes of random resized crops, from uniform numbers; works without torch in loader processes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

TRIES = 10
"""Boxes that are drawn until one fits into the image, as in torchvision."""
NUMBERS = 2 * TRIES + 2
"""Uniform numbers per image: areas, aspect ratios, and the position (row, column)."""
RATIOS = 3 / 4, 4 / 3
"""Smallest and largest ratio of a box's width to its height."""

Numbers = npt.NDArray[np.float64]


def crop_boxes(uniform: Numbers, smallest: float, height: int, width: int) -> Numbers:
    """Return the boxes of random resized crops of images of one size.

    The area of a box is uniform between ``smallest`` and 1 times that of the image, the logarithm
    of its aspect ratio uniform between those of 3/4 and 4/3 (Szegedy et al. 2015, Going deeper with
    convolutions, Section 6). As in torchvision's ``RandomResizedCrop``, the first of ten boxes that
    fits is taken; if none does, it is the largest one at the centre with a ratio in the range.

    Args:
        uniform: numbers in [0, 1), ``(NUMBERS, n)``.
        smallest: smallest share of the image's area.
        height: of the images.
        width: of the images.

    Returns:
        Left, top, right and bottom in whole pixels, float64, ``(4, n)``.
    """
    area = height * width * (smallest + (1 - smallest) * uniform[:TRIES])
    low, high = np.log(RATIOS)
    ratio = np.exp(low + (high - low) * uniform[TRIES : 2 * TRIES])
    widths, heights = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first, columns = fits.argmax(0), np.arange(uniform.shape[1])
    w, h = widths[first, columns], heights[first, columns]
    # Whole offsets from 0 to the room that is left, all equally likely.
    top = np.floor(uniform[-2] * (height - h + 1))
    left = np.floor(uniform[-1] * (width - w + 1))
    if not (fitting := fits.any(0)).all():
        w0 = min(width, max(1, round(height * RATIOS[1])))
        h0 = min(height, max(1, round(width / RATIOS[0])))
        w, h = np.where(fitting, w, w0), np.where(fitting, h, h0)
        left = np.where(fitting, left, (width - w0) // 2)
        top = np.where(fitting, top, (height - h0) // 2)
    return np.stack([left, top, left + w, top + h])
