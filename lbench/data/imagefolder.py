"""A dataset of any folder with class folders; images are resized to squares of one size."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from lbench.data.dataset import Location, MissingDataError, RawFile
from lbench.data.folders import INNER, Unread, class_images, images_beneath, listing
from lbench.data.image_files import ImageFiles, Rows
from lbench.data.image_source import ImageSource
from lbench.data.paths import expanded
from lbench.errors import DataError
from lbench.plurals import counted

HELD_OUT = 0.2
ANNOTATIONS = "val_annotations.txt"
TRAIN, TESTS = "train", ("test", "val")
SPLITS = frozenset(
    {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"}
)
"""Names of folders that hold one split, in lower case; folders with only these names are no
classes."""


class ImageFolder(ImageSource):
    """The user's own images: ``train/<class>/*`` with ``test/`` or ``val/``, or ``<class>/*``.

    With class folders alone, 20 % of each class becomes the test set, chosen by a hash of the
    file's name. Tiny ImageNet is read as published (``train/<class>/images``,
    ``val/val_annotations.txt``, unlabelled ``test/images``), with ``val/`` as its test set.
    """

    name = "imagefolder"
    title = "A folder of class folders"
    files = "train/<class>/*.jpg with test/<class>/*.jpg (or val/), or <class>/*.jpg"
    format = 2

    def directories(self, data_dir: Path | None) -> list[Path]:
        """List ``data_dir`` alone if it is given."""
        # Any folder with folders in it would pass for this dataset, so only a named one is taken.
        if data_dir is not None:
            return [data_dir, data_dir / self.name]
        root = os.environ.get("LBENCH_DATA")
        named = [expanded(root, "LBENCH_DATA") / self.name] if root else []
        return [*named, self.download_dir]

    def look(self, directory: Path) -> Location | None:
        """Find class folders, with or without a split.

        Raises:
            MissingDataError: there are images or class folders, but no class folder with images.
            DataError: some class folder has no images, or there is no test set.
        """
        unread = Unread(directory)
        here, train = listing(directory), listing(directory / TRAIN)
        names = [folder.name for folder in here.folders]
        splits = bool(names) and all(name.lower() in SPLITS for name in names)
        tests = [name for name in TESTS if (directory / name).is_dir()]
        # A class may be called "train"; its images are then in train/ itself.
        if train.folders and (tests or splits or not train.images):
            paths = split_images(directory, tests, unread)
            return Location.of(directory, "split", paths, unread.notes())
        if splits:
            contents = (f"{folder.name}/ has {listing(folder).what()}" for folder in here.folders)
            raise MissingDataError(
                f"{directory} has splits without class folders: {'; '.join(contents)}.",
                f"Put the images into {names[0]}/<class>/ and the like, one folder per class.",
            )
        if not names and here.images:
            raise MissingDataError(
                f"{directory} has {counted(len(here.images), 'image')} but no class folders.",
                f"Put the images into {directory.name}/<class>/, one folder per class.",
            )
        try:
            paths = class_images(directory, unread)
        except MissingDataError:
            if (directory / self.name).is_dir():
                return None  # this folder is searched next
            raise
        return Location.of(directory, "classes", paths, unread.notes()) if paths else None

    def listed(self, location: Location) -> ImageFiles:
        """List the image files of both splits with their labels; none of them is opened.

        Raises:
            DataError: a test image has no label, or its class has no training images.
        """
        notes = []
        if location.layout == "classes":
            rows = hold_out(location)
        else:
            rows, absent = as_split(location)
            if absent:
                notes.append(f"{ANNOTATIONS} has {counted(absent, 'line')} for absent images.")
        held_out = location.layout == "classes"
        note = ", 20 % held out" if held_out else ""
        return ImageFiles.of(
            location.root,
            f"{location.root.name} ({self.config.size}x{self.config.size}{note})",
            "folder, 20 % of each class held out as test" if held_out else "folder",
            rows,
            notes,
        )


def split_images(directory: Path, tests: list[str], unread: Unread) -> list[Path]:
    """List the images of ``train/`` and of the first folder of ``tests`` that has labels.

    Raises:
        DataError: none of them has labels, or a class folder has no images.
    """
    train = class_images(directory / TRAIN, unread)
    classes = {folder.name for folder in listing(directory / TRAIN).folders}
    chosen = ""
    test: list[Path] = []
    for name in tests:
        if chosen:
            unread.add(
                f"in {name}/, as {chosen}/ is the test set", images_beneath(directory / name)
            )
        elif test := labelled(directory / name, classes, unread):
            chosen = name
    if not chosen:
        raise DataError(
            f"{directory} has {TRAIN}/<class>/* but no images in test/<class>/ or val/<class>/. "
            f"{' '.join(unread.notes())}".rstrip(),
            f"Add them, or name {directory / TRAIN} itself to hold out 20 % of each class.",
        )
    here = listing(directory)
    unread.add("outside class folders", here.images)
    for folder in here.folders:
        if folder.name not in (TRAIN, *tests):
            unread.add(f"in {folder.name}/", images_beneath(folder))
    return [*train, *test]


def labelled(folder: Path, classes: set[str], unread: Unread) -> list[Path]:
    """List the images of a test folder; for Tiny ImageNet the last path is its annotations.

    Images without labels are added to ``unread``: images in the folder itself, or in a folder
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


def as_split(location: Location) -> tuple[Rows, int]:
    """Return the split given by the folders, and the number of annotated images without a file."""
    *files, last = location.files
    if last.path.name == ANNOTATIONS:
        text = last.path.read_text("utf-8", "surrogateescape")
        return annotated_split(files, location.root, text)
    return folder_split(location.files, location.root), 0


def folder_split(files: Iterable[RawFile], root: Path) -> Rows:
    """Return the split of files below ``root`` in ``train/<class>/`` and a test folder's."""
    rows: Rows = {"train": [], "test": []}
    for file in files:
        split, label = file.path.relative_to(root).parts[:2]
        rows["train" if split == TRAIN else "test"].append((file, label))
    return rows


def annotated_split(files: Iterable[RawFile], root: Path, annotations: str) -> tuple[Rows, int]:
    """Return the split of Tiny ImageNet, and the number of annotated images without a file.

    Args:
        files: images below ``root`` in ``train/<class>/`` and in the test folder.
        root: the folder with both.
        annotations: the content of ``val_annotations.txt``: per line the name of a test image and
            its class, separated by tabs.

    Raises:
        DataError: a test image has no line.
    """
    fields = (line.split("\t") for line in annotations.splitlines())
    classes = {name: label for name, label, *_ in (row for row in fields if len(row) > 1)}
    rows: Rows = {"train": [], "test": []}
    for file in files:
        split, label = file.path.relative_to(root).parts[:2]
        if split == TRAIN:
            rows["train"].append((file, label))
        elif file.path.name in classes:
            rows["test"].append((file, classes[file.path.name]))
        else:
            raise DataError(
                f"{file.path} has no line in {ANNOTATIONS}.", "Add the line or remove the image."
            )
    return rows, len(classes) - len(rows["test"])


def hold_out(location: Location) -> Rows:
    """Hold out a share of each class, chosen by a hash of the file names below the root."""
    by_class: dict[str, list[RawFile]] = {}
    for file in location.files:
        label = file.path.relative_to(location.root).parts[0]
        by_class.setdefault(label, []).append(file)
    rows: Rows = {"train": [], "test": []}
    for label, files in by_class.items():
        ranked = sorted(files, key=lambda file: name_hash(file, location.root))
        held_out = set(ranked[: min(max(round(HELD_OUT * len(files)), 1), len(files) - 1)])
        for file in files:
            rows["test" if file in held_out else "train"].append((file, label))
    return rows


def name_hash(file: RawFile, root: Path) -> bytes:
    """Return a hash of the file's name below the root; other files and their order are no input."""
    name = file.path.relative_to(root).as_posix()
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
