"""What a dataset is: found on disk, read, and ready to be used."""

from __future__ import annotations

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
    """A raw file as it was when it was found.

    Args:
        ctime_ns: when its content or its entry last changed, in nanoseconds. Unlike
            ``mtime_ns``, which copies and archives restore, programs cannot set it.
    """

    path: Path
    size: int
    mtime_ns: int
    ctime_ns: int


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
            times = stat.st_mtime_ns, stat.st_ctime_ns
            files.append(RawFile(base / path, stat.st_size, *times))
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
