"""Datasets in three states: located on disk, decoded, and ready to be used."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lbench.data.progress import progress
from lbench.errors import DataError

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


class MissingDataError(DataError):
    """Data that is in none of the directories searched; damaged data is a plain DataError."""


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

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (channels, height, width) of one image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @property
    def nbytes(self) -> int:
        """Return the number of bytes of all images when decoded."""
        return len(self) * math.prod(self.shape)

    def pixels(self, indices: Labels | None = None) -> Pixels:
        """Return a copy of the images at ``indices`` (None: all), ``(n, channels, height, width)``.

        Raises:
            DataError: an image of a file cannot be decoded.
        """
        return np.array(self.images) if indices is None else self.images[indices]

    def part(self, indices: Labels) -> Split:
        """Return the split of the examples at ``indices`` alone."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class Segment:
    """One task of a sequence: some examples of a dataset, with their pixels in a given order.

    Args:
        train: indices of its training examples, int64.
        test: indices of its test examples, int64.
        order: order of the pixels, from ``permutation``; None where they are not permuted.
    """

    train: Labels
    test: Labels
    order: Labels | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset ready to be used.

    Args:
        name: its name in ``--dataset NAME``.
        title: its name in tables, with the variant: ``"CIFAR-10 (JPEG)"``.
        variant: ``"canonical"``, or how the data differs from the published files.
        digest: SHA-256 in hex over pixels, labels and class names of both splits.
        classes: class names, in label order.
        train: the training examples.
        test: the test examples.
        mean: mean of each channel of the training images divided by 255.
        std: population standard deviation of each channel of the same.
        segments: the tasks of a sequence, in order; empty for a dataset that is one task.
        notes: sentences for the user, such as which files were not read.
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
        """Return (channels, height, width) of one image."""
        return self.train.shape

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return len(self.classes)

    @property
    def examples(self) -> tuple[int, int]:
        """Return the numbers of training and test examples; each counts in every task with it."""
        if not self.segments:
            return len(self.train), len(self.test)
        return (
            sum(len(segment.train) for segment in self.segments),
            sum(len(segment.test) for segment in self.segments),
        )


@dataclass(frozen=True, slots=True)
class RawFile:
    """A raw file, with size and times at the moment when it was found.

    Args:
        path: its absolute path.
        size: in bytes.
        mtime_ns: time of the last change of its content, in nanoseconds.
        ctime_ns: time of the last change of its content or its entry, in nanoseconds. Unlike
            ``mtime_ns``, which copies and archives restore, programs cannot set it.
    """

    path: Path
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True)
class Location:
    """The location of raw data on disk that is not yet read.

    Args:
        root: the directory or archive with the data.
        layout: one word for the arrangement of files, such as ``"idx"`` or ``"archive"``.
        files: every file that will be read; the name of the cache file depends on them.
        notes: sentences on files there that will not be read.
    """

    root: Path
    layout: str
    files: tuple[RawFile, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, root: Path, layout: str, paths: list[Path], notes: tuple[str, ...] = ()
    ) -> Location:
        """Make a location of ``paths``, with their present sizes and times.

        Raises:
            DataError: one of them cannot be read.
        """
        files = []
        base = Path.cwd()
        for path in progress(paths, f"looking at the files of {root}", len(paths)):
            try:
                stat = path.stat()
            except OSError as error:
                raise DataError(f"{path} cannot be read: {error.strerror}.") from error
            times = stat.st_mtime_ns, stat.st_ctime_ns
            absolute = path if path.is_absolute() else base / path
            files.append(RawFile(absolute, stat.st_size, *times))
        return cls(base / root, layout, tuple(files), notes)


@dataclass(frozen=True, eq=False)
class Raw:
    """Decoded arrays, before checks: title, variant, classes and notes are those of Dataset."""

    title: str
    variant: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    notes: tuple[str, ...] = ()
