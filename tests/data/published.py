"""Small copies of published datasets in their true file formats, made of real digits."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lbench.data.cifar100 import Cifar100
from lbench.data.digits import FILE
from lbench.data.emnist import Emnist
from lbench.data.imagenet32 import Imagenet32
from lbench.data.mnist import FashionMnist, Kmnist
from lbench.data.source import Source
from lbench.data.stl10 import Stl10
from lbench.data.svhn import Svhn
from tests.data.conftest import idx

Bytes = npt.NDArray[np.uint8]
TRAIN, TEST = 60, 20


@dataclass(frozen=True)
class Published:
    """A published dataset.

    Args:
        write: writes the files into a folder, as unpacked by a user.
        source: the class that reads them.
        images: returns the images as (n, channels, height, width).
        classes: number of classes.
        folder: the folder of the files below the data directory.
        options: options of the dataset.
    """

    write: Callable[[Path], None]
    source: type[Source]
    images: Callable[[int], Bytes]
    classes: int = 10
    folder: str = "."
    options: Mapping[str, Any] = field(default_factory=dict)

    def labels(self, count: int) -> npt.NDArray[np.int64]:
        """Return labels from 0; the last class occurs."""
        return np.arange(self.classes - 1, self.classes - 1 - count, -1) % self.classes

    def train(self) -> Bytes:
        """Return the training images."""
        return self.images(TRAIN + TEST)[:TRAIN]

    def test(self) -> Bytes:
        """Return the test images."""
        return self.images(TRAIN + TEST)[TRAIN:]

    def written(self, directory: Path) -> Path:
        """Write the files below a directory and return it."""
        (directory / self.folder).mkdir(parents=True)
        self.write(directory / self.folder)
        return directory


def digits(count: int, factor: int) -> Bytes:
    """Return the first digits as (count, 8 * factor, 8 * factor)."""
    with np.load(FILE) as arrays:
        images: Bytes = arrays["images"][:count]
    return np.kron(images, np.ones((factor, factor), dtype=np.uint8))


def grey(count: int) -> Bytes:
    """Return digits of 28x28."""
    return np.pad(digits(count, 3), ((0, 0), (2, 2), (2, 2)))[:, None]


def colours(side: int) -> Callable[[int], Bytes]:
    """Return a function that returns digits in which every channel is another picture."""

    def images(count: int) -> Bytes:
        plain = digits(count, side // 8)
        return np.stack([plain, 255 - plain[:, ::-1], plain[:, :, ::-1] // 2], axis=1)

    return images


def write_idx(folder: Path, prefix: str, images: Bytes, labels: Any) -> None:
    """Write a split as two gzipped IDX files."""
    for kind, array in (("images-idx3", images), ("labels-idx1", labels.astype(np.uint8))):
        (folder / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(array)))


def like_mnist(source: type[Source]) -> Published:
    """Return a dataset in the files of MNIST."""

    def write(folder: Path) -> None:
        write_idx(folder, "train", data.train()[:, 0], data.labels(TRAIN))
        write_idx(folder, "t10k", data.test()[:, 0], data.labels(TEST))

    data = Published(write, source, grey)
    return data


def emnist(split: str, classes: int) -> Published:
    """Return a split of EMNIST, whose images are stored with rows and columns exchanged."""
    first = int(split == "letters")

    def write(folder: Path) -> None:
        for which, images, count in (("train", data.train(), TRAIN), ("test", data.test(), TEST)):
            exchanged = np.ascontiguousarray(images[:, 0].transpose(0, 2, 1))
            write_idx(folder, f"emnist-{split}-{which}", exchanged, data.labels(count) + first)

    data = Published(write, Emnist, grey, classes, options={"split": split})
    return data


def cifar100(kind: str, classes: int) -> Published:
    """Return CIFAR-100, whose images have a fine and a coarse label."""

    def write(folder: Path) -> None:
        for name, images, count in (("train", data.train(), TRAIN), ("test", data.test(), TEST)):
            labels = {other: [0] * count for other in ("fine_labels", "coarse_labels")}
            labels[f"{kind}_labels"] = data.labels(count).tolist()
            batch = {"filenames": ["a.png"] * count, "batch_label": name, "data": images.reshape(
                count, -1)} | labels  # fmt: skip
            dump(folder / name, batch)
        names = {f"{other}_label_names": [f"{other} {number}" for number in range(size)]
                 for other, size in (("fine", 100), ("coarse", 20))}  # fmt: skip
        dump(folder / "meta", names)

    options = {"classes": kind}
    data = Published(write, Cifar100, colours(32), classes, "cifar-100-python", options)
    return data


def svhn(extra: bool) -> Published:
    """Return SVHN, in which the digit 0 has the label 10; a third of the images may be extra."""
    from scipy.io import savemat

    def write(folder: Path) -> None:
        train = 40 if extra else TRAIN
        parts = {"train": slice(train), "extra": slice(train, TRAIN), "test": slice(TRAIN, None)}
        images = np.concatenate([data.train(), data.test()])
        labels = np.concatenate([data.labels(TRAIN), data.labels(TEST)])
        labels = np.where(labels == 0, 10, labels).astype(np.uint8)
        for name, rows in parts.items():
            if name != "extra" or extra:
                content = {"X": images[rows].transpose(2, 3, 1, 0), "y": labels[rows, None]}
                savemat(folder / f"{name}_32x32.mat", content, do_compression=True)

    data = Published(write, Svhn, colours(32), options={"extra": extra})
    return data


def stl10() -> Published:
    """Return STL-10, whose channels are stored column by column."""

    def write(folder: Path) -> None:
        for name, images, count in (("train", data.train(), TRAIN), ("test", data.test(), TEST)):
            (folder / f"{name}_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())
            (folder / f"{name}_y.bin").write_bytes((data.labels(count) + 1).astype("u1").tobytes())

    data = Published(write, Stl10, colours(96), folder="stl10_binary")
    return data


def imagenet32() -> Published:
    """Return ImageNet at 32x32 in ten training batches, with labels from 1 to 1000."""

    def write(folder: Path) -> None:
        images = data.train().reshape(TRAIN, -1)
        labels = (data.labels(TRAIN) + 1).tolist()
        mean = images.mean(axis=0)
        for number in range(10):
            rows = slice(number * TRAIN // 10, (number + 1) * TRAIN // 10)
            batch = {"data": images[rows], "labels": labels[rows], "mean": mean}
            dump(folder / f"train_data_batch_{number + 1}", batch)
        test = {"data": data.test().reshape(TEST, -1), "labels": (data.labels(TEST) + 1).tolist()}
        dump(folder / "val_data", test)

    data = Published(write, Imagenet32, colours(32), 1000)
    return data


def dump(path: Path, content: object) -> None:
    """Write a pickle of the protocol that the published ones have or can be read with."""
    path.write_bytes(pickle.dumps(content, protocol=3))


DATASETS = {
    "fashion-mnist": like_mnist(FashionMnist),
    "kmnist": like_mnist(Kmnist),
    "emnist": emnist("balanced", 47),
    "emnist letters": emnist("letters", 26),
    "cifar100": cifar100("fine", 100),
    "cifar100 coarse": cifar100("coarse", 20),
    "svhn": svhn(extra=False),
    "svhn extra": svhn(extra=True),
    "stl10": stl10(),
    "imagenet32": imagenet32(),
}
