"""Lists and labels of ImageNet (ILSVRC 2012): class ids, subsets, and labels of a flat folder."""

from __future__ import annotations

import csv
import functools
import gzip
import re
from collections.abc import Iterable
from pathlib import Path

from lbench.errors import DataError

LISTS = Path(__file__).with_name("lists")
WNID = re.compile(r"n\d{8}")
"""A WordNet id, which names a class."""
BOX = re.compile(rb"<name>\s*(n\d{8})\s*</name>")
"""The class of a box in an annotation; all boxes of an image have the class of the image."""


@functools.cache
def one_percent() -> tuple[str, ...]:
    """Return the file names of the 1 % subset, sorted: 12 or 13 training images of each class.

    The subset is that of SimCLR (Chen et al. 2020, arXiv 2002.05709).
    """
    data = gzip.decompress((LISTS / "imagenet-1pct.txt.gz").read_bytes())
    return tuple(data.decode().split())


@functools.cache
def thousand_classes() -> frozenset[str]:
    """Return the ids of the 1,000 classes."""
    return frozenset(name.partition("_")[0] for name in one_percent())


@functools.cache
def hundred_classes() -> frozenset[str]:
    """Return the ids of the 100 classes of ImageNet-100.

    They were drawn by Tian, Krishnan and Isola (2020), *Contrastive Multiview Coding*, arXiv
    1906.05849, ``imagenet100.txt`` of their repository.
    """
    return frozenset((LISTS / "imagenet100.txt").read_text().split())


def solution(path: Path) -> dict[str, str]:
    """Return the class id of each image, by its name without suffix, from the solution of Kaggle.

    Raises:
        DataError: the file has other columns.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if not {"ImageId", "PredictionString"} <= set(rows.fieldnames or ()):
            raise DataError(
                f"{path} has no columns ImageId and PredictionString.", "Fetch this file again."
            )
        return {row["ImageId"]: (row["PredictionString"] or "").partition(" ")[0] for row in rows}


def annotated(paths: Iterable[Path]) -> dict[str, str]:
    """Return the class id of each image, by its name without suffix, from its XML annotation."""
    labels = {}
    for path in paths:
        if match := BOX.search(path.read_bytes()):
            labels[path.stem] = match[1].decode()
    return labels
