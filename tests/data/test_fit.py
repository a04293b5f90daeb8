"""Images that are decoded when they are needed have the pixels of whole decoded images."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lbench.data.crop_box import NUMBERS
from lbench.data.fit import Fit, RandomCrop
from lbench.data.imagenet import Imagenet, Imagenet1Pct
from lbench.data.images import decode
from lbench.errors import DataError
from tests.data.streaming import photograph

BAR = 2.0
"""Largest mean absolute difference of pixels to a full decode and resize, of 255."""


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def jpeg(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=90, **options)  # type: ignore[arg-type]
    return file.getvalue()


def crops(count: int) -> list[RandomCrop]:
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(count, NUMBERS, generator=generator, dtype=torch.float64).numpy()
    return [RandomCrop(row, 0.08) for row in uniform]


def cut_and_resized(data: bytes, box: tuple[float, ...], size: int) -> np.ndarray:
    """Decode all of an image, cut the box out and resize it, as torchvision does."""
    whole = decode(data, "image").pixels.transpose(1, 2, 0)
    left, top, right, bottom = map(int, box)
    part = Image.fromarray(whole[top:bottom, left:right])
    return np.asarray(part.resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def check(data: bytes, size: int, resize: int, crop: RandomCrop) -> None:
    fit = Fit(size, resize)
    whole = decode(data, "image", size, resize).pixels
    assert difference(fit.decode(data, "image"), whole) <= BAR
    height, width = decode(data, "image").pixels.shape[1:]
    expected = cut_and_resized(data, crop.box(width, height), size)
    assert difference(fit.decode(data, "image", crop), expected) <= BAR


@pytest.mark.parametrize("size", [32, 224])
def test_real_images_differ_by_at_most_two_from_a_full_decode_and_resize(
    real_data: Path, size: int
) -> None:
    archive = real_data / "imagenet-sample.tar"
    if not archive.exists():
        pytest.skip(f"{archive} was not found")
    with tarfile.open(archive) as tar:
        files = [tar.extractfile(member).read() for member in tar if member.isfile()]  # type: ignore[union-attr]
    assert len(files) == 50
    for data, crop in zip(files, crops(50), strict=True):
        check(data, size, size * 8 // 7, crop)


@pytest.mark.parametrize("shape", [(40, 60), (300, 300), (1000, 700), (64, 2000), (1, 60), (7, 3)])
@pytest.mark.parametrize("size", [16, 64])
def test_other_images_do_so_too(shape: tuple[int, int], size: int) -> None:
    data = jpeg(photograph(1, *shape))
    for crop in crops(4):
        check(data, size, size + 8, crop)


@pytest.mark.parametrize("turn", range(1, 9))
def test_rotated_photographs_are_upright(turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    check(jpeg(photograph(2, 300, 500), exif=exif), 32, 36, crops(turn)[-1])


def test_images_that_are_no_rgb_jpeg_are_converted_as_when_they_are_decoded() -> None:
    pixels = photograph(3, 200, 300)
    image = Image.fromarray(pixels)
    transparent = image.convert("RGBA")
    transparent.putalpha(Image.fromarray(pixels[:, :, 0]))
    for kind, form in (
        (image.convert("CMYK"), "JPEG"),
        (image.convert("L"), "JPEG"),
        (image.convert("P"), "PNG"),
        (transparent, "PNG"),
        (Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257), "PNG"),
        (image, "TIFF"),
        (image, "WEBP"),
    ):
        file = io.BytesIO()
        kind.save(file, format=form)
        check(file.getvalue(), 40, 40, crops(1)[0])


def test_an_image_of_the_right_size_is_unchanged() -> None:
    file = io.BytesIO()
    pixels = photograph(4, 32, 32)
    Image.fromarray(pixels).save(file, format="PNG")
    assert np.array_equal(Fit(32, 32).decode(file.getvalue(), "image"), pixels.transpose(2, 0, 1))


def test_imagenet_is_resized_to_256_pixels_before_224_are_cropped() -> None:
    assert Imagenet().fit == Fit(224, 256)
    assert Imagenet(size=64).fit == Fit(64, 73)
    assert Imagenet(size=64, resize=64).fit == Fit(64, 64)
    assert Imagenet1Pct(size=64).options() == {"size": 64}


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_truncated_photograph_is_damaged_at_every_reduction(share: float) -> None:
    data = jpeg(photograph(5, 900, 900))
    for size in (16, 64, 400):
        with pytest.raises(DataError, match=r"cats/1\.jpg cannot be decoded"):
            Fit(size, size).decode(data[: int(len(data) * share)], "cats/1.jpg")
