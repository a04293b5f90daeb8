"""What a dataset is once it is decoded, and the digest that names its content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lbench.errors import DataError

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


class MissingDataError(DataError):
    """Data that lies in none of the places looked at (damaged data is a plain DataError)."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels.

    Args:
        images: uint8, ``(n, channels, height, width)``, C-contiguous; memory-mapped ones are
            read-only.
        labels: int64, ``(n,)``, from 0 to classes - 1.
    """

    images: Pixels
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Segment:
    """One task of a sequence: some of a dataset's examples, their pixels in an order of its own.

    Args:
        train: indices of its training examples, int64.
        test: of its test examples.
        order: of the pixels as from ``permutation``; None for their own.
    """

    train: Labels
    test: Labels
    order: Labels | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset ready to be used.

    Args:
        name: what ``--dataset`` takes.
        title: what stands beside a number, variant included: ``"CIFAR-10 (JPEG)"``.
        variant: ``"canonical"``, or what the data is instead.
        digest: SHA-256 in hex over pixels, labels and class names of both splits.
        classes: class names, in label order.
        mean: of the training images divided by 255, one a channel.
        std: likewise, population standard deviation.
        segments: the tasks of a sequence, in order; none for a dataset that is one task.
        notes: sentences that its user should read, such as which files were not read.
    """

    name: str
    title: str
    variant: str
    digest: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    segments: tuple[Segment, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def examples(self) -> tuple[int, int]:
        """Number of training and of test examples, each counted in every task that has it."""
        if not self.segments:
            return len(self.train), len(self.test)
        return (
            sum(len(segment.train) for segment in self.segments),
            sum(len(segment.test) for segment in self.segments),
        )


@dataclass(frozen=True)
class RawFile:
    """A raw file as it lay there when it was found."""

    path: Path
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Found:
    """Raw data on disk, not yet read.

    Args:
        root: the directory or archive that holds it.
        layout: one word for the arrangement, such as ``"idx"`` or ``"archive"``.
        files: every file that will be read; they key the cache.
        notes: sentences on what lies there and will not be read.
    """

    root: Path
    layout: str
    files: tuple[RawFile, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, root: Path, layout: str, paths: list[Path], notes: tuple[str, ...] = ()) -> Found:
        """Describe ``paths`` as they are now. Raises DataError when one cannot be read."""
        files = []
        base = Path.cwd()
        for path in paths:
            try:
                stat = path.stat()
            except OSError as error:
                raise DataError(f"{path} cannot be read: {error.strerror}.") from error
            files.append(RawFile(base / path, stat.st_size, stat.st_mtime_ns))
        return cls(base / root, layout, tuple(files), notes)


@dataclass(frozen=True, eq=False)
class Raw:
    """What a source decodes: arrays as in Split, and what they turned out to be."""

    title: str
    variant: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    notes: tuple[str, ...] = ()


def digest(raw: Raw) -> str:
    """SHA-256 in hex over class names, shapes, pixels and labels."""
    sha = hashlib.sha256(json.dumps(raw.classes, ensure_ascii=False).encode())
    for split in (raw.train, raw.test):
        sha.update(json.dumps(split.images.shape).encode())
        sha.update(np.ascontiguousarray(split.images).data)
        sha.update(np.ascontiguousarray(split.labels, dtype="<i8").data)
    return sha.hexdigest()


def moments(images: Pixels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per-channel mean and standard deviation of ``images / 255``.

    Computed from integer counts, so that every machine gets the same bits.
    """
    values = range(256)
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = np.zeros(256, dtype=np.int64)
        for start in range(0, len(images), 8192):
            counts += np.bincount(images[start : start + 8192, channel].ravel(), minlength=256)
        tally = counts.tolist()
        n = sum(tally)
        first = sum(v * k for v, k in zip(values, tally, strict=True))
        second = sum(v * v * k for v, k in zip(values, tally, strict=True))
        means.append(first / (n * 255))
        stds.append(((n * second - first * first) / (n * 255) ** 2) ** 0.5)
    return tuple(means), tuple(stds)


def check(raw: Raw, where: Path) -> None:
    """Raise DataError unless the arrays are what Split and Dataset promise."""
    for which, split in (("training", raw.train), ("test", raw.test)):
        if not len(split):
            raise DataError(
                f"{where} has no {which} images.",
                "Give every class an image for training and one for the test.",
            )
        if split.images.dtype != np.uint8 or split.images.ndim != 4:
            raise DataError(f"{where}: {which} images are {split.images.dtype}, not uint8 in 4-D.")
        if len(split.images) != len(split.labels):
            raise DataError(
                f"{where}: {len(split.images)} {which} images but {len(split.labels)} labels."
            )
        if split.labels.min() < 0 or split.labels.max() >= len(raw.classes):
            raise DataError(f"{where}: a {which} label is outside 0..{len(raw.classes) - 1}.")
    if raw.train.images.shape[1:] != raw.test.images.shape[1:]:
        raise DataError(f"{where}: training and test images differ in shape.")


def finish(name: str, raw: Raw) -> Dataset:
    """Compute digest and moments; the result is held in memory."""
    mean, std = moments(raw.train.images)
    return Dataset(
        name=name,
        title=raw.title,
        variant=raw.variant,
        digest=digest(raw),
        classes=raw.classes,
        train=raw.train,
        test=raw.test,
        mean=mean,
        std=std,
        notes=raw.notes,
    )
