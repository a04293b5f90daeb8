"""CIFAR-10 is read from each of its layouts, and wrong or damaged files are refused by name."""

from __future__ import annotations

import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lbench.data.cifar10 import CLASSES, FORMAT, MD5, Cifar10
from lbench.errors import DataError

Bytes = npt.NDArray[np.uint8]
WriteImage = Callable[..., Bytes]
SIZES = "30 of 50,000 training images, 20 of 10,000 test images"


def write_batches(folder: Path, per_batch: int = 10) -> dict[str, Bytes]:
    """Write pickled batches as CIFAR-10's authors wrote them; return their pixels."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    pixels = {}
    for name in MD5:
        pixels[name] = rng.integers(0, 256, (per_batch, 3072), dtype=np.uint8)
        labels = [int(i % 10) for i in range(per_batch)]
        batch = {b"batch_label": b"x", b"labels": labels, b"data": pixels[name]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=3))
    return pixels


def write_folders(root: Path, write_image: WriteImage, suffix: str = ".png") -> dict[str, Bytes]:
    pixels = {}
    for split, count in (("train", 3), ("test", 2)):
        for label in reversed(CLASSES):
            for i in reversed(range(count)):
                name = f"{split}/{label}/{i:04}{suffix}"
                pixels[name] = write_image(root / name)
    return pixels


def pack(root: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:xz" if archive.suffix == ".xz" else "w:gz") as tar:
        for child in sorted(root.iterdir()):
            tar.add(child, child.name)
    return archive


@pytest.mark.parametrize("packed", [False, True])
def test_pickled_batches_are_read_from_a_folder_and_an_archive(
    tmp_path: Path, packed: bool
) -> None:
    pixels = write_batches(tmp_path / "raw" / "cifar-10-batches-py")
    directory = tmp_path / "raw"
    if packed:
        directory = tmp_path / "packed"
        directory.mkdir()
        pack(tmp_path / "raw", directory / "cifar-10-python.tar.gz")
    data = Cifar10().load(directory, download=False)
    expected = np.concatenate([pixels[name] for name in list(MD5)[:5]])
    np.testing.assert_array_equal(data.train.images, expected.reshape(-1, 3, 32, 32))
    np.testing.assert_array_equal(data.test.labels, np.arange(10))
    sizes = "50 of 50,000 training images, 10 of 10,000 test images"
    assert (data.variant, data.title) == (f"modified, {sizes}", f"CIFAR-10 (modified, {sizes})")
    assert data.classes == CLASSES


def test_batches_that_python_2_pickled_are_read(tmp_path: Path) -> None:
    pixels = np.arange(2 * 3072, dtype=np.uint32).astype(np.uint8).tobytes()
    data = (
        b"\x80\x02}(U\x0bbatch_labelU\x15training batch 1 of 5U\x06labels](K\x06K\x09eU\x04data"
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
    )
    data += len(pixels).to_bytes(4, "little") + pixels + b"tbu."
    images, labels = FORMAT.read(data, tmp_path / "data_batch_1")
    assert (images.shape, labels.tolist()) == ((2, 3, 32, 32), [6, 9])
    assert images.tobytes() == pixels


class Malice:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch was-here",)


@pytest.mark.parametrize("field", ["whole", "labels", "data"])
def test_a_pickle_that_would_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_caches: Path, field: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_batches(tmp_path / "cifar-10-batches-py")
    path = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    batch = Malice() if field == "whole" else {b"data": 0, b"labels": [], field.encode(): Malice()}
    path.write_bytes(pickle.dumps(batch))
    with pytest.raises(DataError, match=r"data_batch_2 was refused: .*wants to import posix.syst"):
        Cifar10().load(tmp_path, download=False)
    assert not (tmp_path / "was-here").exists()
    assert not list(own_caches.glob("*.bin"))


@pytest.mark.parametrize(
    "batch",
    [
        b"\x80\x02no pickle",
        pickle.dumps(7),
        pickle.dumps({b"labels": [1]}),
        pickle.dumps({b"data": b"x", b"labels": [1]}),
        pickle.dumps({b"data": np.zeros((1, 3071), np.uint8), b"labels": [1]}, protocol=3),
        pickle.dumps({b"data": np.zeros((1, 3072), np.float32), b"labels": [1]}, protocol=3),
        pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}, protocol=3),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}, protocol=3),
    ],
)
def test_a_pickle_that_is_no_batch_names_the_file(tmp_path: Path, batch: bytes) -> None:
    write_batches(tmp_path / "cifar-10-batches-py")
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(batch)
    with pytest.raises(DataError, match="test_batch"):
        Cifar10().load(tmp_path, download=False)


@pytest.mark.parametrize(
    "shape",
    [(2, 32, 32, 3), (2, 3, 32, 32), (2, 32, 96), (2, 1024, 3), (6144,), (3072, 2), (1, 6144)],
)
def test_batches_of_another_shape_are_refused_with_it(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    write_batches(tmp_path / "cifar-10-batches-py", per_batch=2)
    batch = {b"data": np.zeros(shape, np.uint8), b"labels": [0, 1]}
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(pickle.dumps(batch, protocol=3))
    with pytest.raises(DataError, match=r"data_batch_3 .*not \(n, 3072\)") as caught:
        Cifar10().load(tmp_path, download=False)
    assert str(shape) in caught.value.message


@pytest.mark.parametrize("packed", [False, True])
def test_class_folders_keep_the_canonical_class_order(
    tmp_path: Path, write_image: WriteImage, packed: bool
) -> None:
    root = tmp_path / "folders"
    pixels = write_folders(root, write_image)
    if packed:
        (tmp_path / "packed").mkdir()
        root = pack(root, tmp_path / "packed" / "cifar10-jpeg.tar.xz").parent
    data = Cifar10().load(root, download=False)
    assert data.title == f"CIFAR-10 (PNG, {SIZES})"
    assert data.train.labels.tolist() == np.repeat(np.arange(10), 3).tolist()
    for row, label in enumerate(data.train.labels):
        expected = pixels[f"train/{CLASSES[label]}/{row % 3:04}.png"].transpose(2, 0, 1)
        np.testing.assert_array_equal(data.train.images[row], expected)


def test_jpeg_is_another_variant_with_another_title(
    tmp_path: Path, write_image: WriteImage
) -> None:
    write_folders(tmp_path, write_image, ".jpg")
    data = Cifar10().load(tmp_path, download=False)
    assert data.variant == f"jpeg, {SIZES}"
    assert data.title.startswith("CIFAR-10 (JPEG")


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_an_archive_that_is_cut_short_is_refused(
    tmp_path: Path, write_image: WriteImage, own_caches: Path, keep: float
) -> None:
    write_folders(tmp_path / "folders", write_image)
    archive = pack(tmp_path / "folders", tmp_path / "cifar10-jpeg.tar.xz")
    data = archive.read_bytes()
    archive.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(DataError, match=r"cifar10-jpeg.tar.xz is damaged or cut short"):
        Cifar10().load(tmp_path, download=False)
    assert not list(own_caches.glob("*.bin"))


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("train/cat/0001.png", b"no picture", "no image format"),
        ("train/zebra/0000.png", None, "is not in train/<class>"),
        ("train/cat/9999.png", (16, 32, 3), "32x16 pixels"),
    ],
)
def test_a_wrong_image_is_named(
    tmp_path: Path, write_image: WriteImage, name: str, content: Any, what: str
) -> None:
    write_folders(tmp_path, write_image)
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        write_image(tmp_path / name, content or (32, 32, 3))
    with pytest.raises(DataError, match=what) as caught:
        Cifar10().load(tmp_path, download=False)
    assert name in caught.value.message


def test_canonical_batches_come_before_other_layouts(
    tmp_path: Path, write_image: WriteImage
) -> None:
    write_batches(tmp_path / "cifar-10-batches-py")
    write_folders(tmp_path, write_image)
    assert Cifar10().find(tmp_path).layout == "batches"


def test_missing_batches_are_named(tmp_path: Path) -> None:
    write_batches(tmp_path / "cifar-10-batches-py")
    (tmp_path / "cifar-10-batches-py" / "data_batch_4").unlink()
    with pytest.raises(DataError, match="lacks data_batch_4"):
        Cifar10().load(tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_files_of_cifar_that_are_not_read_are_in_the_notes(
    tmp_path: Path, write_image: WriteImage, packed: bool
) -> None:
    root = tmp_path / "raw"
    for split in ("train", "test"):
        for label in CLASSES:
            write_image(root / split / label / "0.png")
    for name in ("train/cat/a.gif", "train/cat/._0.png", "train/cat/Thumbs.db", "train/cat/a.txt"):
        (root / name).write_bytes(b"content")
    if packed:
        (root / "test" / "dog" / "0.png").unlink()
        (tmp_path / "packed").mkdir()
        root = pack(root, tmp_path / "packed" / "cifar10-jpeg.tar.xz").parent
    data = Cifar10().load(root, download=False)
    assert len(data.train) == 10
    expected = ["Not read: 1 file in other formats, such as train/cat/a.gif."]
    if packed:
        per_class = "Test images per class: 0 to 1, where the published data has 1,000."
        expected += ["No images of dog in test/.", per_class]
    assert list(data.notes) == expected


def test_a_class_of_cifar_without_images_is_refused(
    tmp_path: Path, write_image: WriteImage
) -> None:
    for split in ("train", "test"):
        for label in CLASSES:
            write_image(tmp_path / split / label / "0.png")
    (tmp_path / "train" / "dog" / "0.png").rename(tmp_path / "train" / "dog" / "0.gif")
    with pytest.raises(DataError, match=r"train/dog \(only 1 .gif file\)"):
        Cifar10().load(tmp_path, download=False)


@pytest.mark.slow
def test_the_whole_jpeg_archive_is_read_and_cached(real_data: Path) -> None:
    data = Cifar10().load(real_data, download=False)
    assert (data.title, data.variant) == ("CIFAR-10 (JPEG)", "jpeg")
    assert np.bincount(data.train.labels).tolist() == [5000] * 10
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    assert data.mean == pytest.approx((0.4913, 0.4821, 0.4465), abs=1e-4)
    assert data.std == pytest.approx((0.2452, 0.2428, 0.2606), abs=1e-4)
    assert Cifar10().load(real_data, download=False).digest == data.digest
