"""Any folder of class folders, resized to squares of one size."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from lbench.data.dataset import Found, Raw, RawFile, Split
from lbench.data.images import SUFFIXES, decode
from lbench.data.options import Option, whole
from lbench.data.progress import progress
from lbench.data.source import Source
from lbench.errors import DataError

HELD_OUT = 0.2
LARGEST = 1024
"""Pixels a side: an image is 3 MiB then."""
ANNOTATIONS = "val_annotations.txt"

Rows = dict[str, list[tuple[RawFile, str]]]
"""Split -> files with their class names."""


class ImageFolder(Source):
    """The user's own images: ``train/<class>/*`` with ``test/`` or ``val/``, or ``<class>/*``.

    With class folders alone, 20 % of each class becomes the test set, chosen by a hash of the
    file's name. Tiny ImageNet's layout (``train/<class>/images``, ``val_annotations.txt``) is
    read as well.

    Args:
        size: height and width in pixels: the shorter side is brought to it, then the centre is
            cut out.

    Raises:
        UsageError: ``size`` is not a whole number from 1 to 1024.
    """

    name = "imagefolder"
    title = "A folder of class folders"
    files = "train/<class>/*.jpg with test/<class>/*.jpg (or val/), or <class>/*.jpg"
    format = 2
    described = (
        Option("size", 32, f"a whole number from 1 to {LARGEST}", "Height and width in pixels"),
        *Source.described,
    )

    def __init__(self, /, size: int | str = 32, **options: object) -> None:
        self.size = whole(self.name, "size", size, 1, LARGEST, example=32)
        super().__init__(**options)

    def options(self) -> Mapping[str, Any]:
        """Tell the size too."""
        return {**super().options(), "size": self.size}

    def places(self, data_dir: Path | None) -> list[Path]:
        """Look in ``data_dir`` alone when it is given."""
        # Elsewhere any folder would do, so a named one is the only candidate.
        if data_dir is not None:
            return [data_dir, data_dir / self.name]
        root = os.environ.get("LBENCH_DATA")
        return [*([Path(root).expanduser() / self.name] if root else []), self.download_dir]

    def look(self, place: Path) -> Found | None:
        """Find class folders, with or without a split."""
        if train := class_images(place / "train"):
            for test in (place / "test", place / "val"):
                if paths := labelled(test):
                    return Found.of(place, "split", [*train, *paths])
            raise DataError(
                f"{place} has train/<class>/* but no images in test/<class>/ or val/<class>/.",
                f"Add them, or name {place / 'train'} itself to hold out 20 % of each class.",
            )
        paths = class_images(place)
        return Found.of(place, "classes", paths) if paths else None

    def read(self, found: Found) -> Raw:
        """Decode, resize and cut every image."""
        rows = hold_out(found) if found.layout == "classes" else as_split(found)
        classes = tuple(sorted({label for _, label in rows["train"]}))
        for file, label in rows["test"]:
            if label not in classes:
                raise DataError(
                    f"{file.path}: class {label!r} has no training images.",
                    "Give every test class a folder of training images.",
                )
        files = [file for which in ("train", "test") for file, _ in rows[which]]
        images = np.empty((len(files), 3, self.size, self.size), dtype=np.uint8)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            decoded = pool.map(
                lambda file: decode(file.path.read_bytes(), str(file.path), self.size), files
            )
            for row, each in enumerate(progress(decoded, f"decoding {found.root}", len(files))):
                images[row] = each.pixels
        number = {label: index for index, label in enumerate(classes)}
        labels = np.array([number[label] for which in rows.values() for _, label in which])
        n = len(rows["train"])
        held = found.layout == "classes"
        note = ", 20 % held out" if held else ""
        return Raw(
            title=f"{found.root.name} ({self.size}x{self.size}{note})",
            variant="folder, 20 % of each class held out as test" if held else "folder",
            classes=classes,
            train=Split(images[:n], labels[:n].astype(np.int64)),
            test=Split(images[n:], labels[n:].astype(np.int64)),
        )


def class_images(folder: Path) -> list[Path]:
    """List the images in the class folders of ``folder`` or in their subfolders ``images``."""
    if not folder.is_dir():
        return []
    paths: list[Path] = []
    for label in sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] != "."):
        inner = label / "images"
        paths += images_in(inner if inner.is_dir() else label)
    return paths


def images_in(folder: Path) -> list[Path]:
    """List the images that lie in ``folder`` itself, by name."""
    paths = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    return sorted(paths, key=lambda path: path.name)


def labelled(folder: Path) -> list[Path]:
    """List the images of a test folder; Tiny ImageNet's with its annotations as the last path."""
    annotations = folder / ANNOTATIONS
    if annotations.is_file():
        return [*images_in(folder / "images"), annotations]
    return class_images(folder)


def class_of(file: RawFile) -> str:
    """Name the class by the folder."""
    parent = file.path.parent
    return parent.parent.name if parent.name == "images" else parent.name


def as_split(found: Found) -> Rows:
    """Split as the folders say."""
    rows: Rows = {"train": [], "test": []}
    annotations: dict[str, str] | None = None
    if found.files[-1].path.name == ANNOTATIONS:
        lines = found.files[-1].path.read_text().splitlines()
        annotations = {line.split("\t")[0]: line.split("\t")[1] for line in lines if "\t" in line}
    for file in found.files[: -1 if annotations is not None else None]:
        if file.path.relative_to(found.root).parts[0] == "train":
            rows["train"].append((file, class_of(file)))
        elif annotations is None:
            rows["test"].append((file, class_of(file)))
        elif file.path.name in annotations:
            rows["test"].append((file, annotations[file.path.name]))
        else:
            raise DataError(f"{file.path} has no line in {ANNOTATIONS}.")
    return rows


def hold_out(found: Found) -> Rows:
    """Hold out a part of each class by a hash of the file names below the root."""
    by_class: dict[str, list[RawFile]] = {}
    for file in found.files:
        by_class.setdefault(class_of(file), []).append(file)
    rows: Rows = {"train": [], "test": []}
    for label, files in by_class.items():
        ranked = sorted(files, key=lambda file: name_hash(file, found.root))
        held = set(ranked[: min(max(round(HELD_OUT * len(files)), 1), len(files) - 1)])
        for file in files:
            rows["test" if file in held else "train"].append((file, label))
    return rows


def name_hash(file: RawFile, root: Path) -> bytes:
    """Hash the name: a rank that no listing order and no other file changes."""
    return hashlib.sha256(file.path.relative_to(root).as_posix().encode()).digest()
