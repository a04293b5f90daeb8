"""Decodes image files with Pillow; ``docs/data.md`` has a table of formats and conversions."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lbench.data.dataset import Pixels
from lbench.errors import DataError
from lbench.plurals import counted

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff"})

PLAIN = frozenset({"1", "L", "P", "RGB", "CMYK", "YCbCr"})
ALPHA = frozenset({"LA", "PA", "RGBA"})
GREY16 = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
"""Pillow's modes of files that convert to 8-bit RGB in one way; other modes are refused."""

ORIENTATION = 0x0112
TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""By EXIF orientation, Pillow's transposition that undoes it."""
SIDEWAYS = frozenset({"TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"})
"""Transpositions that exchange width and height."""

BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
WHITE_IS_ZERO, SIGNED = 0, 2
"""TIFF 6.0: tags and values that Pillow does not apply to 16-bit or signed samples."""

LARGEST_RESIZED = 1 << 27
"""Largest number of pixels of a resized image before cropping: 400 MB in memory."""

MARGIN = 2.0
"""Smallest size of a reduced JPEG, in sizes of the result."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of an image, in pixels."""

CONVERT = "Convert it to 8-bit greyscale or RGB, or remove it."


class Picture(NamedTuple):
    """A decoded file.

    Args:
        pixels: uint8, ``(3, height, width)``.
        frames: number of frames or pages of the file; ``pixels`` are those of the first.
    """

    pixels: Pixels
    frames: int


def decode(data: bytes, name: str, size: int | None = None, resize: int | None = None) -> Picture:
    """Decode an image file into RGB, turned upright by its EXIF orientation.

    Args:
        data: the file's content.
        name: the image's name in errors.
        size: the shorter side is resized to ``resize`` pixels (bilinear with antialiasing), then
            the centre is cropped, ``size`` by ``size``; None leaves the image as it is.
        resize: None for ``size``.

    Raises:
        DataError: it is damaged, or its pixels do not convert to 8-bit RGB in one way.
    """
    image, frames, _ = upright(data, name)
    if size is not None and image.size != (size, size):
        image = square(image, size, resize or size, name)
    return Picture(planes(image), frames)


def decode_box(
    data: bytes, name: str, size: int, box: Callable[[int, int], Box], *, cut: bool
) -> Pixels:
    """Decode one box of an image file, resized to ``size`` by ``size`` pixels.

    A JPEG that is much larger than needed is reduced while it is decoded, in the space of its
    cosine transform, to at least ``MARGIN`` times the size of the result.

    Args:
        data: the file's content.
        name: the image's name in errors.
        size: height and width of the result.
        box: returns the box for the width and height of the upright image.
        cut: whether the box is cut out before it is resized; otherwise pixels at its border are
            interpolated with those outside.

    Returns:
        uint8, ``(3, size, size)``.

    Raises:
        DataError: as ``decode``.
    """
    from PIL import Image

    sizes: list[tuple[int, int]] = []

    def reduction(width: int, height: int) -> float:
        sizes.append((width, height))
        left, top, right, bottom = box(width, height)
        return min(right - left, bottom - top) / (size * MARGIN)

    image, _, factor = upright(data, name, reduction)
    # The last pixel of a reduced side may stand for fewer than ``factor`` pixels.
    left, top, right, bottom = (at / factor for at in box(*(sizes[0] if sizes else image.size)))
    if cut:
        corner = int(left), int(top)
        image = image.crop((*corner, math.ceil(right), math.ceil(bottom)))
        left, top, right, bottom = (
            at - corner[i % 2] for i, at in enumerate((left, top, right, bottom))
        )
    scaled = left, top, right, bottom
    return planes(image.resize((size, size), Image.Resampling.BILINEAR, box=scaled))


def planes(image: Image.Image) -> Pixels:
    """Return the pixels of an RGB image: uint8, ``(3, height, width)``."""
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))


def upright(
    data: bytes, name: str, reduction: Callable[[int, int], float] | None = None
) -> tuple[Image.Image, int, int]:
    """Decode an image file into RGB, turned upright.

    Args:
        data: the file's content.
        name: the image's name in errors.
        reduction: called once for a JPEG with its width and height when upright; returns the
            factor by which it may be reduced. None for no reduction.

    Returns:
        The image, the number of frames of the file, and the factor by which the image is reduced.

    Raises:
        DataError: as ``decode``.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise DataError(
            f"{name} cannot be decoded: Pillow is not installed.", "pip install pillow"
        ) from error

    try:
        with Image.open(io.BytesIO(data)) as opened:
            frames = frame_count(opened)
            rawmode = str(opened.tile[0][3]) if opened.tile else ""
            factor = 1
            if reduction is not None and opened.format in ("JPEG", "MPO"):
                factor = reduce_jpeg(opened, reduction)
            opened.load()
            turn = TURNS.get(orientation(opened))
            image = to_rgb(opened, rawmode, name)
    except DataError:
        raise
    except Exception as error:  # a damaged file raises nearly anything
        # Pillow's message for an unknown format names the buffer, not the file.
        unidentified = isinstance(error, UnidentifiedImageError)
        reason = "no image format that Pillow knows" if unidentified else str(error)
        raise DataError(
            f"{name} cannot be decoded: {reason}.",
            "Replace or remove this file, or leave it out with --skip-bad if the dataset has this "
            "option.",
        ) from error
    if turn is not None:
        image = image.transpose(Image.Transpose[turn])
    return image, frames, factor


def reduce_jpeg(opened: Image.Image, reduction: Callable[[int, int], float]) -> int:
    """Let Pillow reduce a JPEG when it is loaded, by the returned factor: 1, 2, 4 or 8."""
    turned = TURNS.get(orientation(opened)) in SIDEWAYS
    allowed = reduction(*(opened.size[::-1] if turned else opened.size))
    factor = next((factor for factor in (8, 4, 2) if factor <= allowed), 1)
    width, height = opened.size
    if factor > 1 and min(width, height) >= factor:
        opened.draft(opened.mode, (width // factor, height // factor))
    return factor if opened.size != (width, height) else 1


def frame_count(image: Image.Image) -> int:
    """Return the number of frames or pages; 1 for MPO, whose further frames are previews."""
    if image.format == "MPO":
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # the directory of a later page is damaged; the first can still be read
        return 1


def first_frame_note(files: int) -> str:
    """Return the note on this number of files with several frames, of which one is read."""
    return f"Only the first frame or page of {counted(files, 'file')} is read."


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1 (upright) where none can be read.

    Pillow turns TIFF itself while loading, and then removes the tag.
    """
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF data raises nearly anything; the pixels may be fine
        return 1


def to_rgb(image: Image.Image, rawmode: str, name: str) -> Image.Image:
    """Convert a loaded image to 8-bit RGB; transparent parts are blended with white.

    Args:
        rawmode: how the file stores its pixels, as Pillow names it.
        name: the image's name in errors.

    Raises:
        DataError: the image has signed, 32-bit or floating-point samples, whose range the file
            does not give, a colour space that needs a profile, or 16-bit RGB with a transparent
            colour.
    """
    tags: Any = getattr(image, "tag_v2", {})
    # Pillow has 16-bit PNM, and before version 11 16-bit PNG, in mode I, scaled to 0..65535.
    wide = image.mode in GREY16 or (image.mode == "I" and image.format in ("PNG", "PPM"))
    transparent = image.info.get("transparency")
    if SIGNED in tags.get(SAMPLE_FORMAT, ()):
        raise DataError(
            f"{name} has signed samples (mode {image.mode}), whose black and white are not known.",
            CONVERT,
        )
    if wide:
        return grey16_to_rgb(image)
    if image.mode in ALPHA or (image.mode in PLAIN and transparent is not None):
        if rawmode == "RGB;16B":
            raise DataError(
                f"{name} is a 16-bit RGB image with a transparent colour (mode {image.mode}), "
                "which cannot be matched in 8 bits.",
                CONVERT,
            )
        # PNG gives the transparent grey in the file's bit depth, Pillow gives pixels of 8 bits.
        if image.mode == "L" and isinstance(transparent, int):
            image.info["transparency"] = transparent * {"L;2": 85, "L;4": 17}.get(rawmode, 1)
        return on_white(image)
    if image.mode in PLAIN:
        return image if image.mode == "RGB" else image.convert("RGB")  # which would copy it
    raise DataError(
        f"{name} has pixels of mode {image.mode}, which cannot be read as 8-bit RGB: "
        f"{'their black and white are' if image.mode in ('I', 'F') else 'their colours are'} "
        "not known.",
        CONVERT,
    )


def grey16_to_rgb(image: Image.Image) -> Image.Image:
    """Take the upper 8 bits of 16-bit (TIFF also 12-bit) grey, as Pillow does for 16-bit RGB."""
    from PIL import Image

    tags: Any = getattr(image, "tag_v2", {})
    values = np.asarray(image).astype(np.int64)
    grey = values >> (tags.get(BITS_PER_SAMPLE, (16,))[0] - 8)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        grey = 255 - grey
    if (transparent := image.info.get("transparency")) is not None:
        grey[values == transparent] = 255
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")


def on_white(image: Image.Image) -> Image.Image:
    """Blend an image with transparency with white, the usual background of such drawings.

    Dropping the transparency would give colours that no viewer shows: a drawing in black on a
    transparent background would be black everywhere.
    """
    from PIL import Image

    image_format, image = image.format, image.convert("RGBA")
    lowest, highest = image.getchannel("A").getextrema()
    # Many writers of 32-bit BMP leave the fourth byte 0; viewers then show the image as opaque.
    if lowest == 255 or (highest == 0 and image_format == "BMP"):
        return image.convert("RGB")
    ground = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(ground, image).convert("RGB")


def square(image: Image.Image, size: int, resize: int, name: str) -> Image.Image:
    """Resize the shorter side to ``resize`` pixels and crop the centre, ``size`` by ``size``.

    Raises:
        DataError: the resized image would be too large.
    """
    from PIL import Image

    shorter = min(image.size)
    width, height = (max(resize, round(side * resize / shorter)) for side in image.size)
    if width * height > LARGEST_RESIZED:
        raise DataError(
            f"{name} has {image.width}x{image.height} pixels: too long and thin to be cut to a "
            f"square of {size}x{size}.",
            "Cut it by hand, give a smaller --data size, or remove it.",
        )
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))
