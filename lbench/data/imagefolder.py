"""Any folder of class folders, resized to squares of one size."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from lbench.data.dataset import Found, MissingDataError, Raw, RawFile, Split
from lbench.data.folders import (
    INNER,
    Unread,
    class_images,
    images_beneath,
    listing,
    shortened,
)
from lbench.data.images import decode, first_frame_note
from lbench.data.options import Option, whole
from lbench.data.paths import expanded
from lbench.data.progress import progress
from lbench.data.source import Source
from lbench.errors import DataError, printable
from lbench.plurals import counted

HELD_OUT = 0.2
LARGEST = 1024
"""Pixels a side: an image is 3 MiB then."""
ANNOTATIONS = "val_annotations.txt"
TRAIN, TESTS = "train", ("test", "val")
SPLITS = frozenset(
    {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"}
)
"""Names of folders that hold one split each, in lower case: alone, they are no classes."""

Rows = dict[str, list[tuple[RawFile, str]]]
"""Split -> files with their class names."""


class ImageFolder(Source):
    """The user's own images: ``train/<class>/*`` with ``test/`` or ``val/``, or ``<class>/*``.

    With class folders alone, 20 % of each class becomes the test set, chosen by a hash of the
    file's name. Tiny ImageNet is read as published (``train/<class>/images``,
    ``val/val_annotations.txt``, unlabelled ``test/images``), with ``val/`` as its test set.

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
        named = [expanded(root, "LBENCH_DATA") / self.name] if root else []
        return [*named, self.download_dir]

    def look(self, place: Path) -> Found | None:
        """Find class folders, with or without a split.

        Raises:
            MissingDataError: there are images or class folders, but no class folder with images.
            DataError: some class folder has no images, or there is no test set.
        """
        unread = Unread(place)
        here, train = listing(place), listing(place / TRAIN)
        names = [folder.name for folder in here.folders]
        splits = bool(names) and all(name.lower() in SPLITS for name in names)
        tests = [name for name in TESTS if (place / name).is_dir()]
        # A class may be called "train"; its images are then in train/ itself.
        if train.folders and (tests or splits or not train.images):
            paths = split_images(place, tests, unread)
            return Found.of(place, "split", paths, unread.notes())
        if splits:
            contents = (f"{folder.name}/ has {listing(folder).what()}" for folder in here.folders)
            raise MissingDataError(
                f"{place} has splits without class folders: {'; '.join(contents)}.",
                f"Put the images into {names[0]}/<class>/ and the like, one folder per class.",
            )
        if not names and here.images:
            raise MissingDataError(
                f"{place} has {counted(len(here.images), 'image')} but no class folders.",
                f"Put the images into {place.name}/<class>/, one folder per class.",
            )
        try:
            paths = class_images(place, unread)
        except MissingDataError:
            if (place / self.name).is_dir():
                return None  # the folder to look in next
            raise
        return Found.of(place, "classes", paths, unread.notes()) if paths else None

    def read(self, found: Found) -> Raw:
        """Decode, resize and cut every image."""
        notes = []
        if found.layout == "classes":
            rows = hold_out(found)
        else:
            rows, absent = as_split(found)
            if absent:
                notes.append(f"{ANNOTATIONS} has {counted(absent, 'line')} for absent images.")
        classes = tuple(sorted({label for _, label in rows["train"]}))
        for file, label in rows["test"]:
            if label not in classes:
                raise DataError(
                    f"{file.path}: class {label!r} has no training images.",
                    "Give every test class a folder of training images.",
                )
        if untested := sorted(set(classes) - {label for _, label in rows["test"]}):
            notes.append(f"No test images of {shortened(untested)}.")
        files = [file for which in ("train", "test") for file, _ in rows[which]]
        images = np.empty((len(files), 3, self.size, self.size), dtype=np.uint8)
        several = 0
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            decoded = pool.map(
                lambda file: decode(file.path.read_bytes(), str(file.path), self.size), files
            )
            for row, each in enumerate(progress(decoded, f"decoding {found.root}", len(files))):
                images[row] = each.pixels
                several += each.frames > 1
        if several:
            notes.append(first_frame_note(several))
        number = {label: index for index, label in enumerate(classes)}
        labels = np.array([number[label] for which in rows.values() for _, label in which])
        n = len(rows["train"])
        held = found.layout == "classes"
        note = ", 20 % held out" if held else ""
        return Raw(
            title=f"{printable(found.root.name)} ({self.size}x{self.size}{note})",
            variant="folder, 20 % of each class held out as test" if held else "folder",
            classes=tuple(printable(label) for label in classes),
            train=Split(images[:n], labels[:n].astype(np.int64)),
            test=Split(images[n:], labels[n:].astype(np.int64)),
            notes=tuple(printable(note) for note in notes),
        )


def split_images(place: Path, tests: list[str], unread: Unread) -> list[Path]:
    """List the images of ``train/`` and of the first folder of ``tests`` that has labels.

    Raises:
        DataError: none has labels, or some class folder has no images.
    """
    train = class_images(place / TRAIN, unread)
    classes = {folder.name for folder in listing(place / TRAIN).folders}
    chosen = ""
    test: list[Path] = []
    for name in tests:
        if chosen:
            unread.add(f"in {name}/, as {chosen}/ is the test set", images_beneath(place / name))
        elif test := labelled(place / name, classes, unread):
            chosen = name
    if not chosen:
        raise DataError(
            f"{place} has {TRAIN}/<class>/* but no images in test/<class>/ or val/<class>/. "
            f"{' '.join(unread.notes())}".rstrip(),
            f"Add them, or name {place / TRAIN} itself to hold out 20 % of each class.",
        )
    here = listing(place)
    unread.add("outside class folders", here.images)
    for folder in here.folders:
        if folder.name not in (TRAIN, *tests):
            unread.add(f"in {folder.name}/", images_beneath(folder))
    return [*train, *test]


def labelled(folder: Path, classes: set[str], unread: Unread) -> list[Path]:
    """List the images of a test folder; Tiny ImageNet's with its annotations as the last path.

    Images without labels go to ``unread``: those in the folder itself, or in one folder
    ``images`` that is no class, as in Tiny ImageNet's ``test/``.
    """
    content, inner = listing(folder), listing(folder / INNER)
    annotations = folder / ANNOTATIONS
    if annotations.is_file() and inner.images:
        unread.add("outside class folders", content.images)
        return [*inner.images, annotations]
    names = {path.name for path in content.folders}
    if not names or (names == {INNER} and INNER not in classes):
        unread.add(f"without labels in {folder.name}/", content.images + inner.images)
        return []
    return class_images(folder, unread)


def class_of(file: RawFile, found: Found) -> str:
    """Name the class by the folder below the root, or below ``train/`` and the like."""
    parts = file.path.relative_to(found.root).parts
    return parts[0 if found.layout == "classes" else 1]


def as_split(found: Found) -> tuple[Rows, int]:
    """Split as the folders say; count the annotated images that are not there."""
    rows: Rows = {"train": [], "test": []}
    annotations: dict[str, str] | None = None
    if found.files[-1].path.name == ANNOTATIONS:
        text = found.files[-1].path.read_text("utf-8", "surrogateescape")
        fields = (line.split("\t") for line in text.splitlines())
        annotations = {name: label for name, label, *_ in (row for row in fields if len(row) > 1)}
    for file in found.files[: -1 if annotations is not None else None]:
        if file.path.relative_to(found.root).parts[0] == TRAIN:
            rows["train"].append((file, class_of(file, found)))
        elif annotations is None:
            rows["test"].append((file, class_of(file, found)))
        elif file.path.name in annotations:
            rows["test"].append((file, annotations[file.path.name]))
        else:
            raise DataError(
                f"{file.path} has no line in {ANNOTATIONS}.", "Add the line or remove the image."
            )
    return rows, len(annotations) - len(rows["test"]) if annotations else 0


def hold_out(found: Found) -> Rows:
    """Hold out a part of each class by a hash of the file names below the root."""
    by_class: dict[str, list[RawFile]] = {}
    for file in found.files:
        by_class.setdefault(class_of(file, found), []).append(file)
    rows: Rows = {"train": [], "test": []}
    for label, files in by_class.items():
        ranked = sorted(files, key=lambda file: name_hash(file, found.root))
        held = set(ranked[: min(max(round(HELD_OUT * len(files)), 1), len(files) - 1)])
        for file in files:
            rows["test" if file in held else "train"].append((file, label))
    return rows


def name_hash(file: RawFile, root: Path) -> bytes:
    """Hash the name: a rank that no listing order and no other file changes."""
    name = file.path.relative_to(root).as_posix()
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
