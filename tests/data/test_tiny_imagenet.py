"""Tiny ImageNet is read as published, from its folder or an archive, with the same result."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from lbench.data.source import MissingDataError
from lbench.data.tiny_imagenet import TinyImagenet
from lbench.errors import DataError

WriteImage = Callable[..., npt.NDArray[np.uint8]]
TITLE = "Tiny ImageNet (2 of 200 classes, 6 of 100,000 training images, 2 of 10,000 test images)"


@pytest.fixture
def tiny(tmp_path: Path, write_image: WriteImage) -> Path:
    """Return a data directory with Tiny ImageNet as published, of two classes."""
    root = tmp_path / "data" / "tiny-imagenet-200"
    for label in ("n02", "n01"):
        for i in range(3):
            # Some images of Tiny ImageNet are greyscale.
            shape = (64, 64) if i == 2 else (64, 64, 3)
            write_image(root / "train" / label / "images" / f"{label}_{i}.JPEG", shape)
        (root / "train" / label / f"{label}_boxes.txt").write_text("n01_0.JPEG\t0\t0\t7\t7\n")
    for i in range(2):
        write_image(root / "val" / "images" / f"val_{i}.JPEG", (64, 64, 3))
    lines = ["val_0.JPEG\tn02\t0\t32\t44\t62", "val_1.JPEG\tn01\t52\t55\t57\t59"]
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines))
    write_image(root / "test" / "images" / "test_0.JPEG", (64, 64, 3))
    (root / "wnids.txt").write_text("n02\nn01\n")
    (root / "words.txt").write_text("n01\tgoldfish\nn02\ttailed frog\n")
    return tmp_path / "data"


def pack(data: Path, suffix: str) -> None:
    """Replace the folder by an archive of it."""
    name = data / f"tiny-imagenet-200{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(name, "w") as archive:
            for path in sorted(data.rglob("*"), reverse=True):
                if path != name:
                    archive.write(path, path.relative_to(data))
    else:
        with tarfile.open(name, f"w:{suffix.rpartition('.')[2].removeprefix('t')}") as archive:
            archive.add(data / "tiny-imagenet-200", "tiny-imagenet-200")
    shutil.rmtree(data / "tiny-imagenet-200")


def test_the_published_folder_is_read_with_its_annotations(tiny: Path) -> None:
    data = TinyImagenet().load(tiny)
    assert data.classes == ("n01", "n02")
    assert data.shape == (3, 64, 64)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test.labels.tolist() == [1, 0]
    assert data.title == TITLE
    assert data.notes == ("Not read: 1 file in test/, such as test/images/test_0.JPEG.",)
    grey = data.train.images[2]
    np.testing.assert_array_equal(grey[0], grey[1])
    assert TinyImagenet().load(tiny / "tiny-imagenet-200").digest == data.digest


@pytest.mark.parametrize("suffix", [".zip", ".tar.xz", ".tar.gz", ".tgz"])
def test_an_archive_gives_the_data_of_its_folder(tiny: Path, suffix: str) -> None:
    folder = TinyImagenet().load(tiny)
    pack(tiny, suffix)
    archive = TinyImagenet().load(tiny)
    assert (archive.digest, archive.title, archive.variant, archive.notes) == (
        folder.digest,
        folder.title,
        folder.variant,
        folder.notes,
    )


def test_validation_images_sorted_into_class_folders_have_the_same_labels(tiny: Path) -> None:
    val = tiny / "tiny-imagenet-200" / "val"
    before = TinyImagenet().load(tiny)
    for name, label in (("val_0.JPEG", "n02"), ("val_1.JPEG", "n01")):
        (val / label / "images").mkdir(parents=True)
        (val / "images" / name).rename(val / label / "images" / name)
    (val / "images").rmdir()
    (val / "val_annotations.txt").unlink()
    folder = TinyImagenet().load(tiny)
    assert folder.test.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(folder.test.images[::-1], before.test.images)
    pack(tiny, ".zip")
    assert TinyImagenet().load(tiny).digest == folder.digest


def test_a_damaged_archive_is_refused(tiny: Path) -> None:
    pack(tiny, ".zip")
    path = tiny / "tiny-imagenet-200.zip"
    content = path.read_bytes()
    path.write_bytes(content[:-200])
    with pytest.raises(DataError, match=r"200.zip is damaged or cut short"):
        TinyImagenet().load(tiny)
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    with pytest.raises(DataError, match=r"200.zip is damaged or cut short"):
        TinyImagenet().load(tiny)


def test_an_encrypted_archive_is_refused(tiny: Path) -> None:
    pack(tiny, ".zip")
    path = tiny / "tiny-imagenet-200.zip"
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = content.find(signature)
        while start >= 0:
            content[start + flags] |= 1
            start = content.find(signature, start + 1)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"200.zip cannot be unpacked: .*password"):
        TinyImagenet().load(tiny)


def test_an_archive_without_validation_images_is_refused(tiny: Path) -> None:
    shutil.rmtree(tiny / "tiny-imagenet-200" / "val")
    pack(tiny, ".tar.gz")
    with pytest.raises(DataError, match="has no images in val/"):
        TinyImagenet().load(tiny)


def test_the_archive_that_is_meant_must_be_clear(tiny: Path) -> None:
    (tiny / "tiny-imagenet-200").rename(tiny / "tiny-imagenet-200.bak")
    for suffix in (".zip", ".tar.xz"):
        (tiny / f"tiny-imagenet-200{suffix}").touch()
    with pytest.raises(DataError, match=r"several archives .*200.tar.xz, tiny-imagenet-200.zip"):
        TinyImagenet().find(tiny)


def test_images_of_another_size_are_refused(tiny: Path, write_image: WriteImage) -> None:
    write_image(tiny / "tiny-imagenet-200" / "train" / "n01" / "images" / "n01_9.JPEG", (64, 60, 3))
    with pytest.raises(DataError, match=r"n01_9.JPEG has 60x64 pixels, not 64x64") as caught:
        TinyImagenet().load(tiny)
    assert "imagefolder" in caught.value.hint


def test_other_class_folders_are_no_tiny_imagenet(tiny: Path) -> None:
    (tiny / "tiny-imagenet-200" / "wnids.txt").unlink()
    (tiny / "tiny-imagenet-200" / "val" / "val_annotations.txt").unlink()
    with pytest.raises(MissingDataError, match="tiny-imagenet"):
        TinyImagenet().find(tiny)
