"""The image files of a dataset with their labels, and how they are decoded."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lbench.data.dataset import Labels, Raw, RawFile, Split
from lbench.data.images import decode, first_frame_note
from lbench.data.progress import progress


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


def decoded(images: ImageFiles, size: int) -> Raw:
    """Decode all images; the shorter side is resized to ``size`` pixels, the centre is cropped.

    Raises:
        DataError: a file cannot be decoded; the message names it.
    """
    files = [*images.train.files, *images.test.files]
    pixels = np.empty((len(files), 3, size, size), dtype=np.uint8)
    several = 0
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        pictures = pool.map(
            lambda file: decode(file.path.read_bytes(), str(file.path), size), files
        )
        for row, picture in enumerate(progress(pictures, f"decoding {images.root}", len(files))):
            pixels[row] = picture.pixels
            several += picture.frames > 1
    n = len(images.train)
    return Raw(
        title=images.title,
        variant=images.variant,
        classes=images.classes,
        train=Split(pixels[:n], images.train.labels),
        test=Split(pixels[n:], images.test.labels),
        notes=(*images.notes, *((first_frame_note(several),) if several else ())),
    )
