"""Folders of images are split, resized and checked as docs/data.md says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from lbench.data.digits import Digits
from lbench.data.imagefolder import ImageFolder
from lbench.data.source import Source
from lbench.errors import DataError, UsageError

Bytes = npt.NDArray[np.uint8]
WriteImage = Callable[..., Bytes]


@pytest.fixture
def folder(tmp_path: Path, write_image: WriteImage) -> Path:
    """Return a folder with two class folders: ten cats, five dogs."""
    for label, count in (("cat", 10), ("dog", 5)):
        for i in range(count):
            write_image(tmp_path / "pets" / label / f"{i}.png", (12, 12, 3))
    return tmp_path / "pets"


@pytest.mark.parametrize("name", ["test", "val"])
def test_train_and_test_folders_are_the_split(
    tmp_path: Path, write_image: WriteImage, name: str
) -> None:
    train = write_image(tmp_path / "train" / "a" / "0.png", (8, 8, 3))
    test = write_image(tmp_path / name / "b" / "0.png", (8, 8, 3))
    write_image(tmp_path / "train" / "b" / "0.PNG", (8, 8, 3))
    data = ImageFolder(size=8).load(tmp_path)
    assert data.classes == ("a", "b")
    assert data.shape == (3, 8, 8)
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([0, 1], [1])
    np.testing.assert_array_equal(data.train.images[0], train.transpose(2, 0, 1))
    np.testing.assert_array_equal(data.test.images[0], test.transpose(2, 0, 1))
    assert data.variant == "folder"


def test_class_folders_alone_hold_out_a_fifth_of_each_class(folder: Path) -> None:
    data = ImageFolder(size=12).load(folder)
    assert np.bincount(data.train.labels).tolist() == [8, 4]
    assert np.bincount(data.test.labels).tolist() == [2, 1]
    assert data.variant == "folder, 20 % of each class held out as test"
    assert data.title == "pets (12x12, 20 % held out)"


def test_the_held_out_images_depend_on_their_names_alone(folder: Path, tmp_path: Path) -> None:
    first = ImageFolder(size=12).load(folder)
    shutil.copytree(folder, tmp_path / "copy" / "other")
    assert ImageFolder(size=12).load(tmp_path / "copy" / "other").digest == first.digest


def test_images_are_resized_and_cropped_at_the_centre(
    tmp_path: Path, write_image: WriteImage
) -> None:
    for label in ("a", "b"):
        for i in range(2):
            wide = write_image(tmp_path / label / f"{i}.png", (6, 10, 3))
    data = ImageFolder(size=6).load(tmp_path)
    images = np.concatenate([data.train.images, data.test.images])
    assert images.shape == (4, 3, 6, 6)
    assert any(np.array_equal(image, wide[:, 2:8].transpose(2, 0, 1)) for image in images)
    assert ImageFolder(size=3).load(tmp_path).shape == (3, 3, 3)


def test_greyscale_becomes_three_equal_channels(tmp_path: Path, write_image: WriteImage) -> None:
    for label in ("a", "b"):
        for i in range(2):
            write_image(tmp_path / label / f"{i}.png", (32, 32))
    images = ImageFolder().load(tmp_path).train.images
    np.testing.assert_array_equal(images[:, 0], images[:, 1])
    np.testing.assert_array_equal(images[:, 0], images[:, 2])


def test_tiny_imagenet_layout(tmp_path: Path, write_image: WriteImage) -> None:
    for label in ("n01", "n02"):
        write_image(tmp_path / "train" / label / "images" / f"{label}_0.png")
    for i in range(2):
        write_image(tmp_path / "val" / "images" / f"val_{i}.png")
    lines = ["val_0.png\tn02\t0\t0\t1\t1", "val_1.png\tn01\t0\t0\t1\t1"]
    (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(lines))
    data = ImageFolder().load(tmp_path)
    assert data.classes == ("n01", "n02")
    assert data.test.labels.tolist() == [1, 0]


def test_size_keys_the_cache_and_the_fingerprint(folder: Path) -> None:
    small, large = ImageFolder(size=8), ImageFolder(size="16")
    assert small.options() == {"size": 8}
    assert large.options() == {"size": 16}
    assert small.load(folder).digest != large.load(folder).digest


@pytest.mark.parametrize("size", [0, -1, "big", 1025, "1000000"])
def test_a_wrong_size_is_refused(size: int | str) -> None:
    with pytest.raises(UsageError, match=f"from 1 to 1024, but got {size!r}"):
        ImageFolder(size=size)


def test_an_unknown_option_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="'sise'") as caught:
        ImageFolder(sise=3)
    assert "Did you mean size?" in caught.value.hint


@pytest.mark.parametrize("source", [ImageFolder, Digits])
def test_an_option_called_self_is_unknown(source: type[Source]) -> None:
    with pytest.raises(UsageError, match="'self'"):
        source(self="1")


def test_a_broken_image_is_named(folder: Path, own_caches: Path) -> None:
    path = folder / "cat" / "3.png"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="cannot be decoded") as caught:
        ImageFolder().load(folder)
    assert str(path) in caught.value.message
    assert not list(own_caches.glob("*.bin"))


def test_a_test_class_without_training_images_is_refused(
    tmp_path: Path, write_image: WriteImage
) -> None:
    write_image(tmp_path / "train" / "a" / "0.png")
    write_image(tmp_path / "test" / "b" / "0.png")
    with pytest.raises(DataError, match="'b' has no training images"):
        ImageFolder().load(tmp_path)


def test_one_image_per_class_cannot_be_split(tmp_path: Path, write_image: WriteImage) -> None:
    write_image(tmp_path / "a" / "0.png")
    with pytest.raises(DataError, match="no test images"):
        ImageFolder().load(tmp_path)


def test_the_error_for_train_without_test_says_how_to_hold_out(
    tmp_path: Path, write_image: WriteImage
) -> None:
    write_image(tmp_path / "train" / "a" / "0.png")
    with pytest.raises(DataError, match="no images in test") as caught:
        ImageFolder().load(tmp_path)
    assert str(tmp_path / "train") in caught.value.hint


def one_class(layout: str, root: Path, write_image: WriteImage) -> None:
    if layout == "split":
        write_image(root / "train" / "cat" / "0.png")
        write_image(root / "test" / "cat" / "0.png")
    else:
        for i in range(3):
            write_image(root / "cat" / f"{i}.png")


@pytest.mark.parametrize("layout", ["split", "classes"])
def test_one_class_is_refused_since_there_is_nothing_to_learn(
    tmp_path: Path, write_image: WriteImage, layout: str
) -> None:
    one_class(layout, tmp_path, write_image)
    with pytest.raises(DataError, match=r"one class only \(cat\): there is nothing") as caught:
        ImageFolder().load(tmp_path)
    assert "another class" in caught.value.hint


def test_images_in_both_training_and_test_set_are_counted(
    tmp_path: Path, write_image: WriteImage
) -> None:
    for label in ("cat", "dog"):
        for i in range(3):
            write_image(tmp_path / "train" / label / f"{i}.png")
            write_image(tmp_path / "test" / label / f"{i}.png")
    assert ImageFolder().load(tmp_path).notes == ()
    train, test = tmp_path / "train", tmp_path / "test"
    shutil.copy(train / "cat" / "0.png", test / "cat" / "copy.png")
    with Image.open(train / "cat" / "1.png") as image:
        image.save(test / "cat" / "2.tiff")
    shutil.copy(train / "cat" / "2.png", test / "dog" / "0.png")
    note = (
        "3 of 8 test images are also training images, pixel for pixel, 1 of them under another "
        "label."
    )
    for _ in ("decoded", "cached"):
        assert ImageFolder().load(tmp_path).notes == (note,)


def test_copies_on_both_sides_of_the_holdout_are_counted(
    tmp_path: Path, write_image: WriteImage
) -> None:
    for label in ("cat", "dog"):
        write_image(tmp_path / label / "0.png")
        for i in range(1, 5):
            shutil.copy(tmp_path / label / "0.png", tmp_path / label / f"{i}.png")
    (note,) = ImageFolder().load(tmp_path).notes
    assert note == "2 of 2 test images are also training images, pixel for pixel."
