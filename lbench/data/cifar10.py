"""CIFAR-10, read from its pickled batches, from class folders, or from a tar of class folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from lbench.data.archive import members
from lbench.data.checksum import md5, title_and_variant
from lbench.data.dataset import Location, MissingDataError, Pixels, Raw, Split
from lbench.data.file_set import FileSet
from lbench.data.folders import TEXTS, Unread, class_images, ignored, image_name, shortened
from lbench.data.images import decode, first_frame_note
from lbench.data.progress import progress
from lbench.data.published_size import PublishedSize
from lbench.data.safe_pickle import BatchFormat
from lbench.data.source import Source
from lbench.errors import DataError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
"""MD5 of the published batches; a copy with these is canonical."""

JPEGS = "cifar10-jpeg.tar.xz"
FILES = FileSet(
    "cifar-10-batches-py", "cifar-10-python.tar.gz", tuple(MD5), layouts=("batches", "pickles")
)
FORMAT = BatchFormat("CIFAR-10", FILES.archive, "labels", range(10))


class Cifar10(Source):
    """50,000 training and 10,000 test images of 32x32 (Krizhevsky, 2009)."""

    name = "cifar10"
    title = "CIFAR-10"
    files = f"{FILES.folder}/, {FILES.archive}, train/<class>/* with test/<class>/*, or {JPEGS}"
    torchvision = "CIFAR10"
    format = 3
    published_size = PublishedSize(classes=10, train=50_000, test=10_000, balanced=True)

    def look(self, directory: Path) -> Location | None:
        """Find the data; of several layouts the one nearest to the published files is taken."""
        if (location := FILES.look(directory)) is not None:
            return location
        if all((directory / split / CLASSES[0]).is_dir() for split in ("train", "test")):
            unread = Unread(directory)
            paths = image_paths(directory, unread)
            return Location.of(directory, "folders", paths, unread.notes())
        if (directory / JPEGS).is_file():
            return Location.of(directory / JPEGS, "archive", [directory / JPEGS])
        return None

    def read(self, location: Location) -> Raw:
        """Decode the data in the layout in which it was found."""
        if location.layout in FILES.layouts:
            return self.pickled(FILES.read(location), location.root)
        if location.layout == "archive":
            return self.folders(members(location.root), location.root, Unread(Path()))
        named = (
            (f.path.relative_to(location.root).as_posix(), f.path.read_bytes())
            for f in location.files
        )
        return self.folders(named, location.root, Unread(location.root))

    def pickled(self, files: dict[str, bytes], root: Path) -> Raw:
        """Decode the pickled batches.

        Args:
            files: content by file name.
            root: the path in errors.
        """
        batches = [FORMAT.read(files[name], root / name) for name in MD5]
        published = all(md5(files[name]) == value for name, value in MD5.items())
        title, variant = title_and_variant(self.title, published)
        images, labels = (list(arrays) for arrays in zip(*batches, strict=True))
        return Raw(
            title=title,
            variant=variant,
            classes=CLASSES,
            train=Split(np.concatenate(images[:-1]), np.concatenate(labels[:-1])),
            test=Split(images[-1], labels[-1]),
        )

    def folders(self, files: Iterable[tuple[str, bytes]], root: Path, unread: Unread) -> Raw:
        """Decode images named ``.../train/<class>/<file>``; their order does not matter.

        Args:
            files: names and contents.
            root: the path in errors.
            unread: takes the files that are no images of a class.
        """
        rows: dict[str, list[tuple[int, str, Pixels]]] = {"train": [], "test": []}
        suffixes = set()
        several = 0
        for name, data in progress(images_only(files, unread), f"decoding {root}", 60_000):
            split, label, file = PurePosixPath(name).parts[-3:]
            if split not in rows or label not in CLASSES:
                raise DataError(
                    f"{root}: {name} is not in train/<class> or test/<class>.",
                    f"The classes are {', '.join(CLASSES)}.",
                )
            image, frames = decode(data, f"{root}: {name}")
            if image.shape != (3, 32, 32):
                raise DataError(
                    f"{root}: {name} has {image.shape[2]}x{image.shape[1]} pixels, not 32x32."
                )
            rows[split].append((CLASSES.index(label), file, image))
            suffixes.add(PurePosixPath(name).suffix.lower())
            several += frames > 1
        notes = list(unread.notes())
        for split, items in rows.items():
            there = {label for label, _, _ in items}
            if absent := [name for label, name in enumerate(CLASSES) if label not in there]:
                notes.append(f"No images of {shortened(absent)} in {split}/.")
        if several:
            notes.append(first_frame_note(several))
        splits = {}
        for split, items in rows.items():
            items.sort(key=lambda item: item[:2])
            images = [image for _, _, image in items]
            labels = np.array([label for label, _, _ in items], dtype=np.int64)
            splits[split] = Split(
                np.stack(images) if images else np.zeros((0, 3, 32, 32), dtype=np.uint8), labels
            )
        variant = "png" if suffixes == {".png"} else "jpeg" if suffixes & JPEG else "folder"
        label = variant.upper() if variant != "folder" else "class folders"
        return Raw(
            title=f"{self.title} ({label})",
            variant=variant,
            classes=CLASSES,
            train=splits["train"],
            test=splits["test"],
            notes=tuple(notes),
        )


JPEG = {".jpg", ".jpeg"}


def images_only(files: Iterable[tuple[str, bytes]], unread: Unread) -> Iterator[tuple[str, bytes]]:
    """Yield the files that may be images in ``train/<class>/``, and add others to ``unread``."""
    for name, data in files:
        path = PurePosixPath(name)
        if any(ignored(part) for part in path.parts) or path.suffix.lower() in TEXTS:
            continue
        if not image_name(name):
            unread.add("in other formats", [Path(name)])
        elif len(path.parts) < 3:
            unread.add("outside class folders", [Path(name)])
        else:
            yield name, data


def image_paths(directory: Path, unread: Unread) -> list[Path]:
    """List the images in the class folders of both splits.

    Raises:
        DataError: a class folder has no images.
    """
    try:
        folders = [directory / split for split in ("train", "test")]
        return [path for folder in folders for path in class_images(folder, unread)]
    except MissingDataError as error:
        # The files that exist are wrong, so a download would not help.
        raise DataError(error.message, error.hint) from error
