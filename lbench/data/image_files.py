"""The image files of a dataset with their labels, and how they are decoded."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from lbench.data.dataset import Labels, Raw, RawFile, Split
from lbench.data.fit import Fit
from lbench.data.folders import shortened
from lbench.data.images import Picture, decode, first_frame_note
from lbench.data.paths import read
from lbench.data.progress import progress
from lbench.errors import DataError, printable
from lbench.plurals import counted

S = TypeVar("S")
T = TypeVar("T")

UNVERIFIED = "not verified"
"""The variant of published images without check sums."""
Rows = dict[str, list[tuple[RawFile, str]]]
"""Files with their class names, by split."""


@dataclass(frozen=True, eq=False)
class LabelledFiles:
    """Image files and their labels.

    Args:
        files: one file per example.
        labels: int64, ``(n,)``, from 0 to classes - 1.
    """

    files: tuple[RawFile, ...]
    labels: Labels

    def __len__(self) -> int:
        return len(self.files)

    @classmethod
    def of(cls, rows: Sequence[tuple[RawFile, str]], number: Mapping[str, int]) -> LabelledFiles:
        """Make the files of one split; ``number`` has the label of each class."""
        labels = np.array([number[label] for _, label in rows], dtype=np.int64)
        return cls(tuple(file for file, _ in rows), labels)


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """The image files of both splits, before any of them is decoded.

    Args:
        root: the directory that has them.
        title: as in Dataset.
        variant: as in Dataset.
        classes: class names, in label order.
        train: the training examples.
        test: the test examples.
        notes: as in Dataset.
    """

    root: Path
    title: str
    variant: str
    classes: tuple[str, ...]
    train: LabelledFiles
    test: LabelledFiles
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, root: Path, title: str, variant: str, rows: Rows, notes: Iterable[str] = ()
    ) -> ImageFiles:
        """Label the files of both splits; the classes are those of the training files, sorted.

        Raises:
            DataError: the class of a test file has no training images.
        """
        classes = sorted({label for _, label in rows["train"]})
        number = {label: index for index, label in enumerate(classes)}
        for file, label in rows["test"]:
            if label not in number:
                raise DataError(
                    f"{file.path}: class {label!r} has no training images.",
                    "Give every test class a folder of training images.",
                )
        untested = sorted(set(classes) - {label for _, label in rows["test"]})
        more = [f"No test images of {shortened(untested)}."] if untested else []
        return cls(
            root=root,
            title=printable(title),
            variant=variant,
            classes=tuple(printable(label) for label in classes),
            train=LabelledFiles.of(rows["train"], number),
            test=LabelledFiles.of(rows["test"], number),
            notes=tuple(printable(note) for note in (*notes, *more)),
        )

    def without(self, names: Collection[str]) -> ImageFiles:
        """Return the files except those with these paths below ``root``, and a note on them."""
        if not names:
            return self
        left_out = {str(self.root / name) for name in names}
        splits = []
        for split in (self.train, self.test):
            keep = [str(file.path) not in left_out for file in split.files]
            files = tuple(file for file, kept in zip(split.files, keep, strict=True) if kept)
            splits.append(LabelledFiles(files, split.labels[np.array(keep, dtype=bool)]))
        note = (
            f"Skipped: {counted(len(names), 'image')} that cannot be decoded, such as "
            f"{printable(min(names))}."
        )
        return replace(self, train=splits[0], test=splits[1], notes=(*self.notes, note))


def read_file(file: RawFile) -> bytes:
    """Return the content of a file."""
    return read(file.path)


def decoded(
    images: ImageFiles,
    fit: Fit,
    content: Callable[[RawFile], bytes] = read_file,
    *,
    resize: bool = True,
    skip: bool = False,
) -> Raw:
    """Decode all images and keep their centres.

    Args:
        images: the files.
        fit: how an image becomes a square.
        content: returns the content of a file, in several threads.
        resize: whether images of another size are resized; otherwise they are refused.
        skip: whether images that cannot be decoded are left out, with a note.

    Raises:
        DataError: a file cannot be read, or cannot be decoded; the message names it.
    """

    def picture(file: RawFile) -> Picture | None:
        data = content(file)
        try:
            decoded = decode(data, str(file.path), fit.size if resize else None, fit.resize)
        except DataError:
            if skip:
                return None
            raise
        _, height, width = decoded.pixels.shape
        if (height, width) != (fit.size, fit.size):
            raise DataError(
                f"{file.path} has {width}x{height} pixels, not {fit.size}x{fit.size}.",
                "For images of other sizes use --dataset imagefolder.",
            )
        return decoded

    files = [*images.train.files, *images.test.files]
    pixels = np.empty((len(files), 3, fit.size, fit.size), dtype=np.uint8)
    several = filled = 0
    bad = []
    pictures = progress(in_threads(picture, files), f"decoding {images.root}", len(files))
    for file, decoded_file in zip(files, pictures, strict=True):
        if decoded_file is None:
            bad.append(str(file.path.relative_to(images.root)))
            continue
        pixels[filled] = decoded_file.pixels
        filled += 1
        several += decoded_file.frames > 1
    images = images.without(bad)
    n = len(images.train)
    return Raw(
        title=images.title,
        variant=images.variant,
        classes=images.classes,
        train=Split(pixels[:n], images.train.labels),
        test=Split(pixels[n:filled], images.test.labels),
        notes=(*images.notes, *((first_frame_note(several),) if several else ())),
    )


def in_threads(function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """Yield the results of a function in order; Pillow decodes outside Python's lock."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        yield from pool.map(function, items)
