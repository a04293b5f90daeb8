"""Image files of every format are decoded as docs/data.md says, or refused with the reason."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from lbench.data.images import decode
from lbench.errors import DataError

Array = npt.NDArray[Any]
TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}
"""From stored pixels to those that a viewer shows, by orientation (EXIF 2.32, section 4.6.4)."""


def saved(image: Image.Image, suffix: str = "png", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, suffix, **options)
    return file.getvalue()


def read(data: bytes) -> Array:
    """Return pixels ``(height, width, 3)``."""
    return decode(data, "a.png").pixels.transpose(1, 2, 0)


def grey(data: bytes) -> list[int]:
    """Return the values of an image of one row, all of whose channels are equal."""
    pixels = read(data)
    assert (pixels == pixels[:, :, :1]).all()
    return pixels[0, :, 0].tolist()


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png(depth: int, colour: int, width: int, row: bytes, extra: bytes = b"") -> bytes:
    """Return a PNG of one row, by the format's definition: Pillow does not write all it reads."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + row))
    return b"\x89PNG\r\n\x1a\n" + head + extra + pixels + chunk(b"IEND", b"")


def tiff(depth: int, pixels: bytes, order: str = "<", zero: int = 1, sample: int = 1) -> bytes:
    """Return a grey TIFF of one row of two pixels, written by the format's definition.

    Args:
        order: "<" for little-endian, ">" for big-endian.
        zero: 1 when 0 is black, 0 when 0 is white.
        sample: 1 for unsigned, 2 for signed.
    """
    tags = [(256, 2), (257, 1), (258, depth), (259, 1), (262, zero), (273, 134), (277, 1)]
    tags += [(278, 1), (279, len(pixels)), (339, sample)]
    entries = b"".join(struct.pack(f"{order}HHIHH", tag, 3, 1, v, 0) for tag, v in tags)
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(tags))
    return head + entries + bytes(4) + pixels


@pytest.mark.parametrize(
    "data",
    [
        png(16, 0, 2, struct.pack(">HH", 0x1234, 0xFEDC)),
        tiff(16, struct.pack("<HH", 0x1234, 0xFEDC)),
        tiff(16, struct.pack(">HH", 0x1234, 0xFEDC), order=">"),
        tiff(16, struct.pack("<HH", 0xEDCB, 0x0123), zero=0),
        tiff(12, bytes([0x12, 0x3F, 0xED])),
        saved(Image.fromarray(np.array([[0x1234, 0xFEDC]], np.uint16)), "tiff", compression="lzw"),
        b"P5 2 1 65535\n" + struct.pack(">HH", 0x1234, 0xFEDC),
        b"P2 2 1 65535\n4660 65244\n",
    ],
    ids=["png", "tiff", "tiff-be", "tiff-white0", "tiff-12", "tiff-lzw", "pgm", "pgm-plain"],
)
def test_16_bit_grey_is_read_as_its_upper_8_bits(data: bytes) -> None:
    assert grey(data) == [0x12, 0xFE]


def test_classes_of_dark_and_bright_16_bit_images_stay_apart() -> None:
    rng = np.random.default_rng(0)
    for low, high in ((0, 20_000), (40_000, 60_000)):
        values = rng.integers(low, high, (20, 20)).astype(np.uint16)
        for suffix in ("png", "tiff", "ppm"):
            pixels = read(saved(Image.fromarray(values), suffix))
            assert abs(pixels.mean() - values.mean() / 257) < 1


def test_a_pgm_is_scaled_by_its_own_maximum() -> None:
    assert grey(b"P5 2 1 1023\n" + struct.pack(">HH", 512, 1023)) == [128, 255]
    assert grey(b"P5 2 1 100\n" + bytes([50, 100])) == [128, 255]


def test_16_bit_colour_is_read_as_its_upper_8_bits() -> None:
    row = struct.pack(">3H", 0x1234, 0x56FF, 0xFF00)
    assert read(png(16, 2, 1, row)).tolist() == [[[0x12, 0x56, 0xFF]]]
    assert read(png(16, 6, 1, row + b"\xff\xff")).tolist() == [[[0x12, 0x56, 0xFF]]]


@pytest.mark.parametrize(
    ("data", "mode"),
    [
        (saved(Image.fromarray(np.array([[0.25, 1]], np.float32)), "tiff"), "mode F"),
        (b"Pf\n2 1\n-1.0\n" + struct.pack("<ff", 0.5, 1), "mode F"),
        (saved(Image.fromarray(np.array([[5, 70_000]], np.int32)), "tiff"), "mode I"),
        (tiff(16, struct.pack("<hh", -5, 3000), sample=2), "mode I"),
        (tiff(8, struct.pack("bb", -5, 30), sample=2), "mode L"),
        (saved(Image.new("LAB", (2, 2)), "tiff"), "mode LAB"),
        (png(16, 2, 1, bytes(6), chunk(b"tRNS", bytes(6))), "mode RGB"),
    ],
    ids=["float-tiff", "pfm", "int32", "int16", "int8", "lab", "rgb16-transparent"],
)
def test_pixels_that_do_not_convert_in_one_way_are_refused_with_their_mode(
    data: bytes, mode: str
) -> None:
    with pytest.raises(DataError, match=mode) as caught:
        decode(data, "folder/a.png")
    assert caught.value.message.startswith("folder/a.png ")
    assert "8-bit" in caught.value.hint


def drawing(mode: str) -> Image.Image:
    """Return an opaque black, a half-transparent black and a transparent pixel in a row."""
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 0))
    image.putpixel((0, 0), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 128))
    return image if mode == "RGBA" else image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "suffix", "options"),
    [
        ("RGBA", "png", {}),
        ("RGBA", "tiff", {}),
        ("RGBA", "webp", {"lossless": True, "exact": True}),
        ("LA", "png", {}),
        ("LA", "tiff", {}),
        ("PA", "tiff", {}),
    ],
)
def test_a_transparent_drawing_is_read_as_black_on_white(
    mode: str, suffix: str, options: dict[str, Any]
) -> None:
    assert grey(saved(drawing(mode), suffix, **options)) == [0, 127, 255]


TRANSPARENT = {
    "grey-1": png(1, 0, 2, b"\x40", chunk(b"tRNS", b"\0\0")),
    "grey-2": png(2, 0, 2, b"\x70", chunk(b"tRNS", b"\0\1")),
    "grey-4": png(4, 0, 2, b"\x5f", chunk(b"tRNS", b"\0\5")),
    "grey-8": png(8, 0, 2, b"\x07\xff", chunk(b"tRNS", b"\0\7")),
    "grey-16": png(16, 0, 2, b"\x07\x08\xff\xff", chunk(b"tRNS", b"\7\x08")),
    "rgb": png(8, 2, 2, b"\1\2\3\xff\xff\xff", chunk(b"tRNS", b"\0\1\0\2\0\3")),
    "palette": png(
        8, 3, 2, b"\0\1", chunk(b"PLTE", bytes(3) + b"\xff\xff\xff") + chunk(b"tRNS", b"\0\xff")
    ),
    "grey-alpha-16": png(16, 4, 2, b"\0\0\0\0\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("data", TRANSPARENT.values(), ids=TRANSPARENT.keys())
def test_pixels_that_png_makes_transparent_in_any_way_become_white(data: bytes) -> None:
    assert grey(data) == [255, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_opaque_image_with_an_alpha_channel_keeps_its_pixels(mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    plain = Image.fromarray(pixels).convert("RGB" if mode == "RGBA" else "L")
    np.testing.assert_array_equal(
        read(saved(plain.convert(mode))), np.asarray(plain.convert("RGB"))
    )


def test_a_bitmap_with_zeros_for_alpha_is_opaque() -> None:
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    head = struct.pack("<IiiHHIIiiII", 108, 1, 1, 1, 32, 3, 4, 0, 0, 0, 0) + masks + bytes(52)
    pixel = bytes([30, 20, 10, 0])
    data = b"BM" + struct.pack("<IHHI", 14 + 108 + 4, 0, 0, 14 + 108) + head + pixel
    assert read(data).tolist() == [[[10, 20, 30]]]


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp", "jpeg"])
@pytest.mark.parametrize("number", TURNED)
def test_exif_orientation_is_undone(suffix: str, number: int) -> None:
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:8, :16], pixels[8:, :16], pixels[:8, 16:] = 255, 160, 80
    exif = Image.Exif()
    exif[0x0112] = number
    options = {"lossless": True} if suffix == "webp" else {}
    data = saved(Image.fromarray(pixels), suffix, exif=exif.tobytes(), **options)
    expected = TURNED[number](pixels)
    decoded = read(data)
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).mean() < 1


def test_an_image_with_damaged_exif_data_is_read() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    data = saved(Image.fromarray(pixels), exif=b"Exif\0\0no TIFF header")
    np.testing.assert_array_equal(read(data), pixels)


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"],
)  # fmt: skip
def test_plain_modes_are_read_as_pillow_converts_them(mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    data = saved(image, "tiff")
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.mode == mode
    np.testing.assert_array_equal(read(data), np.asarray(image.convert("RGB")))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", ["png", "jpeg", "bmp", "webp", "tiff", "ppm"])
def test_a_truncated_file_is_refused(suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    data = saved(Image.fromarray(pixels), suffix)
    for keep in (0, 10, 60, len(data) // 2, len(data) - 40):
        with pytest.raises(DataError, match=r"folder/a.img cannot be decoded"):
            decode(data[:keep], "folder/a.img")


@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1)])
def test_an_image_too_long_and_thin_for_a_square_is_refused(shape: tuple[int, int]) -> None:
    data = saved(Image.fromarray(np.zeros(shape, np.uint8)))
    with pytest.raises(DataError, match=r"a.png has \d+x\d+ pixels: too long and thin") as caught:
        decode(data, "a.png", 512)
    assert "size" in caught.value.hint
    assert decode(data, "a.png", 8).pixels.shape == (3, 8, 8)


def test_a_decompression_bomb_is_refused() -> None:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(DataError, match=r"a.png cannot be decoded: .*400000000 pixels"):
        decode(data, "a.png")


def test_the_first_frame_of_several_is_read_and_the_frames_are_counted() -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue", "lime")]
    for suffix in ("png", "tiff", "webp", "gif"):
        options = {"lossless": True} if suffix == "webp" else {}
        data = saved(frames[0], suffix, save_all=True, append_images=frames[1:], **options)
        picture = decode(data, "a")
        assert picture.pixels[:, 0, 0].tolist() == [255, 0, 0], suffix
        assert picture.frames == 3, suffix
    assert decode(saved(frames[0]), "a").frames == 1
