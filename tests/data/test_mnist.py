"""MNIST is read bit for bit from files of any usual spelling, and damaged files are refused."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from lbench.data.mnist import FILES, MD5, Mnist
from lbench.errors import DataError

Bytes = npt.NDArray[np.uint8]
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def test_mnist_is_bit_exact(real_data: Path) -> None:
    data = Mnist().load(real_data, download=False)
    assert (data.title, data.variant) == ("MNIST", "canonical")
    assert (len(data.train), len(data.test), data.shape) == (60_000, 10_000, (1, 28, 28))
    sums = dict(zip(FILES, MD5["MNIST"], strict=True))
    for split, name in ((data.train, "train"), (data.test, "t10k")):
        images = hashlib.md5(idx_header(split.images.shape) + split.images.tobytes())
        labels = split.labels.astype(np.uint8)
        assert images.hexdigest() == sums[f"{name}-images-idx3-ubyte"]
        digits = hashlib.md5(idx_header(labels.shape) + labels.tobytes())
        assert digits.hexdigest() == sums[f"{name}-labels-idx1-ubyte"]
    assert data.mean == pytest.approx((0.1307,), abs=1e-4)
    assert data.std == pytest.approx((0.3081,), abs=1e-4)


def idx_header(shape: tuple[int, ...]) -> bytes:
    dims = (shape[0], 28, 28) if len(shape) == 4 else shape
    return bytes([0, 0, 8, len(dims)]) + b"".join(d.to_bytes(4, "big") for d in dims)


@pytest.mark.parametrize("spelling", ["{}.gz", "{}", "dotted"])
def test_every_usual_spelling_gives_the_same_arrays(
    mnist_dir: Path, mnist_arrays: dict[str, Bytes], spelling: str
) -> None:
    for name in mnist_arrays:
        packed = mnist_dir / f"{name}.gz"
        if spelling == "dotted":
            packed.rename(mnist_dir / f"{name.replace('-idx', '.idx')}.gz")
        elif spelling == "{}":
            (mnist_dir / name).write_bytes(gzip.decompress(packed.read_bytes()))
            packed.unlink()
    data = Mnist().load(mnist_dir.parent, download=False)
    np.testing.assert_array_equal(data.train.images[:, 0], mnist_arrays[IMAGES])
    np.testing.assert_array_equal(data.train.labels, mnist_arrays[LABELS])
    assert data.train.images.dtype == np.uint8
    assert data.train.labels.dtype == np.int64
    assert data.train.images.flags.c_contiguous
    assert not data.train.images.flags.writeable


def test_files_that_are_not_the_published_ones_are_called_modified(mnist_dir: Path) -> None:
    data = Mnist().load(mnist_dir, download=False)
    sizes = "60 of 60,000 training images, 20 of 10,000 test images"
    assert (data.title, data.variant) == (f"MNIST (modified, {sizes})", f"modified, {sizes}")


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data[:-6] + bytes([data[-6] ^ 1]) + data[-5:]


def unpacked(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda data: gzip.compress(change(gzip.decompress(data)))


DAMAGE: list[tuple[str, Callable[[bytes], bytes], str]] = [
    (IMAGES, cut, "damaged or cut short"),
    (IMAGES, flipped, "damaged or cut short"),
    (IMAGES, lambda data: b"", "starts with nothing"),
    (IMAGES, lambda data: b"<html>404</html>", "Not a gzipped file"),
    (IMAGES, unpacked(lambda d: d[:-1]), "47055 bytes; its header says 47056"),
    (IMAGES, unpacked(lambda d: d + b"\0"), "47057 bytes; its header says 47056"),
    (IMAGES, unpacked(lambda d: b"\0\0\x0d\3" + d[4:]), "00000d03, not 00000803"),
    (IMAGES, unpacked(lambda d: d[:8] + d[12:16] * 2 + d[:3136]), "header says"),
    (IMAGES, unpacked(lambda d: d[:11] + b"\x20" + d[12:]), "(32, 28), not (28, 28)"),
    (LABELS, unpacked(lambda d: d[:-1] + b"\x0b"), "the label 11"),
    (LABELS, unpacked(lambda d: d[:7] + b"\x3b" + d[8:-1]), "59 labels for 60 images"),
]


@pytest.mark.parametrize(("name", "change", "what"), DAMAGE)
def test_damage_names_the_file_and_leaves_no_cache(
    mnist_dir: Path, own_caches: Path, name: str, change: Callable[[bytes], bytes], what: str
) -> None:
    path = mnist_dir / f"{name}.gz"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError) as caught:
        Mnist().load(mnist_dir, download=False)
    assert str(path) in caught.value.message
    assert what in caught.value.message
    assert caught.value.hint
    assert [p.suffix for p in own_caches.iterdir()] in ([], [".lock"])


def test_the_error_for_a_part_of_mnist_names_the_missing_files(mnist_dir: Path) -> None:
    (mnist_dir / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="missing: t10k-labels-idx1-ubyte"):
        Mnist().load(mnist_dir)
