"""Images that are damaged, or not plain 8-bit RGB, in every dataset that is read from files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from lbench.data.dataset import Dataset
from lbench.data.imagefolder import ImageFolder
from lbench.data.imagenet import Imagenet
from lbench.data.source import Source
from lbench.data.tiny_imagenet import TinyImagenet
from lbench.errors import DataError

SIDE = 64
CLASSES = ("n01440764", "n01443537")
"""Two classes of ImageNet and of Tiny ImageNet."""
Write = Callable[[str, bytes], None]


def picture() -> Image.Image:
    """Return a picture whose four quarters differ, so that every turn of it differs."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[:32, :32], pixels[:32, 32:], pixels[32:, :32] = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    return Image.fromarray(pixels)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def folder(write: Write, edge: bytes | None, name: str) -> Source:
    for label in CLASSES:
        write(f"train/{label}/0.png", saved(picture(), "png"))
        write(f"test/{label}/0.png", saved(picture(), "png"))
    if edge is not None:
        write(f"train/{CLASSES[0]}/{name}", edge)
    return ImageFolder(size=SIDE)


def streamed(write: Write, edge: bytes | None, name: str) -> Source:
    folder(write, edge, name)
    return ImageFolder(size=SIDE, stream="yes")


def classes(write: Write, edge: bytes | None, name: str) -> Source:
    for label in CLASSES:
        for i in range(9):
            write(f"{label}/{i}.png", saved(picture(), "png"))
    if edge is not None:
        write(f"{CLASSES[0]}/{name}", edge)
    return ImageFolder(size=SIDE)


def tiny(write: Write, edge: bytes | None, name: str) -> Source:
    root = "tiny-imagenet-200"
    for label in CLASSES:
        write(f"{root}/train/{label}/images/{label}_0.png", saved(picture(), "png"))
    if edge is not None:
        write(f"{root}/train/{CLASSES[0]}/images/{name}", edge)
    write(f"{root}/val/images/val_0.png", saved(picture(), "png"))
    write(f"{root}/val/val_annotations.txt", f"val_0.png\t{CLASSES[1]}\t0\t0\t1\t1\n".encode())
    return TinyImagenet()


def imagenet(write: Write, edge: bytes | None, name: str) -> Source:
    for label in CLASSES:
        write(f"ILSVRC/Data/CLS-LOC/train/{label}/{label}_0.png", saved(picture(), "png"))
    if edge is not None:
        write(f"ILSVRC/Data/CLS-LOC/train/{CLASSES[0]}/{name}", edge)
    write("ILSVRC/Data/CLS-LOC/val/v_1.png", saved(picture(), "png"))
    solution = f"ImageId,PredictionString\nv_1,{CLASSES[0]} 1 2 3 4\n"
    write("LOC_val_solution.csv", solution.encode())
    return Imagenet(size=SIDE)


Build = Callable[[Write, "bytes | None", str], Source]
LAYOUTS: dict[str, tuple[Build, bool]] = {
    "folder": (folder, False),
    "streamed": (streamed, False),
    "classes": (classes, False),
    "tiny": (tiny, False),
    "tiny-zip": (tiny, True),
    "imagenet": (imagenet, False),
}
"""How each dataset is written, and whether it is packed into an archive."""


@pytest.fixture(params=LAYOUTS)
def load(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[bytes | None, str], Dataset]:
    """Return a function that adds one file to a dataset of each layout, and loads it."""
    build, packed = LAYOUTS[request.param]

    def loaded(edge: bytes | None, name: str) -> Dataset:
        root = tmp_path / ("without" if edge is None else "with")
        root.mkdir()

        def write(path: str, data: bytes) -> None:
            if packed:
                with zipfile.ZipFile(root / "tiny-imagenet-200.zip", "a") as archive:
                    archive.writestr(path, data)
            else:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(data)

        return build(write, edge, name).load(root, download=False)

    return loaded


TURNED = Image.Exif()
TURNED[0x0112] = 6
CLEAR = picture().quantize(4)
CLEAR.info["transparency"] = int(np.asarray(CLEAR)[0, 0])
"""The colour of the upper left quarter is transparent."""
GREY16 = (np.asarray(picture())[:, :, 0].astype(np.uint16) << 8) + 77


def quarters(upper_left: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return the picture with another upper left quarter."""
    pixels = np.asarray(picture()).astype(np.float64)
    pixels[:32, :32] = upper_left
    return pixels


PIXELS = {
    "cmyk.jpg": (
        saved(picture().convert("CMYK"), "jpeg", quality=95, subsampling=0),
        np.asarray(picture()),
    ),
    "grey16.png": (
        saved(Image.fromarray(GREY16), "png"),
        np.repeat(np.asarray(picture())[:, :, :1], 3, 2),
    ),
    "transparent.png": (saved(CLEAR, "png"), quarters((255, 255, 255))),
    "turned.jpg": (
        saved(picture(), "jpeg", quality=95, subsampling=0, exif=TURNED.tobytes()),
        np.rot90(np.asarray(picture()), -1),
    ),
    "animated.png": (
        saved(picture(), "png", save_all=True, append_images=[Image.new("RGB", (SIDE, SIDE))]),
        np.asarray(picture()),
    ),
    # As n02105855_2933.JPEG of ImageNet is.
    "a-png-called.JPEG": (saved(picture(), "png"), np.asarray(picture())),
}
"""The content of a file, and its pixels as a viewer shows them, ``(height, width, 3)``."""


@pytest.mark.parametrize("name", PIXELS)
def test_the_pixels_are_those_that_a_viewer_shows(
    load: Callable[[bytes | None, str], Dataset], name: str
) -> None:
    content, shown = PIXELS[name]
    before, after = load(None, name), load(content, name)
    assert len(after.train) + len(after.test) == len(before.train) + len(before.test) + 1
    images = np.concatenate([after.train.pixels(), after.test.pixels()]).transpose(0, 2, 3, 1)
    distance = np.abs(images.astype(float) - shown).mean(axis=(1, 2, 3))
    assert distance.min() < 2, distance
    if "streamed" not in after.variant:
        several = "Only the first frame or page of 1 file is read."
        assert (several in after.notes) == name.startswith("animated")


@pytest.mark.parametrize(
    "content",
    [
        saved(picture(), "jpeg")[:-60],
        b"a text\n" * 100,
        b"",
        b"<html>404 Not Found</html>",
    ],
    ids=["truncated", "text", "empty", "page"],
)
def test_a_file_that_is_no_whole_image_is_named(
    load: Callable[[bytes | None, str], Dataset], content: bytes, own_caches: Path
) -> None:
    load(None, "")
    files = len(list(own_caches.glob("*.bin")))
    with pytest.raises(DataError, match=r"n01440764.*bad\.jpg cannot be decoded: ") as caught:
        load(content, "bad.jpg")
    assert "Replace or remove" in caught.value.hint
    assert len(list(own_caches.glob("*.bin"))) == files


@pytest.mark.parametrize("name", [".DS_Store", "._0.png", "Thumbs.db", ".thumbnails/0.png"])
def test_files_of_file_managers_change_nothing(
    load: Callable[[bytes | None, str], Dataset], name: str
) -> None:
    before, after = load(None, name), load(b"content", name)
    assert (after.digest, after.notes) == (before.digest, before.notes)
