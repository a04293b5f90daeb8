"""Image files to pixels, with Pillow."""

from __future__ import annotations

import io

import numpy as np

from lbench.data.dataset import Pixels
from lbench.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff"})


def decode(data: bytes, name: str, size: int | None = None) -> Pixels:
    """Decode into uint8 ``(3, height, width)``; greyscale becomes RGB, transparency is dropped.

    Args:
        data: the file's content.
        name: what an error calls it.
        size: the shorter side is brought to ``size`` pixels (bilinear with antialiasing), then
            the centre is cut out, ``size`` by ``size``; None leaves the image as it is.

    Raises:
        DataError: it cannot be decoded.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise DataError(
            f"{name} cannot be decoded: Pillow is not installed.", "pip install pillow"
        ) from error

    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow's message for an unknown format names the buffer, not the file.
        unidentified = isinstance(error, UnidentifiedImageError)
        reason = "no image format that Pillow knows" if unidentified else str(error)
        raise DataError(
            f"{name} cannot be decoded: {reason}.", "Replace or remove this file."
        ) from error
    if size is not None and image.size != (size, size):
        width, height = image.size
        shorter = min(width, height)
        width = max(size, round(width * size / shorter))
        height = max(size, round(height * size / shorter))
        left, top = (width - size) // 2, (height - size) // 2
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        image = image.crop((left, top, left + size, top + size))
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))
