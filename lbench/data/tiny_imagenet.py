"""Tiny ImageNet, read from its folder as published or from an archive of that folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from lbench.data.archive import members
from lbench.data.dataset import Location, MissingDataError, Raw, RawFile
from lbench.data.fit import Fit
from lbench.data.folders import TEXTS, Unread, ignored, image_name
from lbench.data.image_files import UNVERIFIED, ImageFiles, Rows, decoded
from lbench.data.imagefolder import (
    ANNOTATIONS,
    TRAIN,
    annotated_split,
    as_split,
    folder_split,
    split_images,
)
from lbench.data.progress import progress
from lbench.data.published_size import PublishedSize
from lbench.data.source import Source
from lbench.errors import DataError
from lbench.plurals import counted

FIT = Fit(64, 64)
VAL, TEST = "val", "test"
FOLDER = "tiny-imagenet-200"
ARCHIVES = (".zip", ".tar.xz", ".tar.gz", ".tgz")


class TinyImagenet(Source):
    """100,000 training and 10,000 validation images of 64x64 in 200 classes (CS231n, 2015).

    The validation images are the test set; the published test images have no labels.
    """

    name = "tiny-imagenet"
    title = "Tiny ImageNet"
    files = f"{FOLDER}/ as published, with train/, val/ and wnids.txt, or {FOLDER}.zip of it"
    augmentation = "crop8,flip"
    published_size = PublishedSize(classes=200, train=100_000, test=10_000, balanced=True)

    def look(self, directory: Path) -> Location | None:
        """Find the folder, or an archive of it.

        Raises:
            DataError: a class folder has no images, or there is no validation set.
        """
        for folder in (directory, directory / FOLDER):
            if is_folder(folder):
                unread = Unread(folder)
                try:
                    paths = split_images(folder, [VAL], unread)
                except MissingDataError as error:
                    # The files that exist are wrong, so the search ends here.
                    raise DataError(error.message, error.hint) from error
                return Location.of(folder, "folder", paths, unread.notes())
        archives = [
            path
            for path in sorted(directory.glob(f"{FOLDER}*"))
            if path.name.endswith(ARCHIVES) and path.is_file()
        ]
        if not archives:
            return None
        if len(archives) > 1:
            names = ", ".join(path.name for path in archives)
            raise DataError(
                f"{directory} has several archives of {self.title}: {names}.",
                "Keep the one that is meant, or unpack it there.",
            )
        return Location.of(archives[0], "archive", archives)

    def read(self, location: Location) -> Raw:
        """Decode every image.

        Raises:
            DataError: an image is damaged or not of 64x64 pixels, or the archive is damaged.
        """
        if location.layout == "folder":
            return decoded(self.listed(location), FIT, resize=False)
        packed = Packed(location.root)
        files = self.image_files(location, *packed.split(), packed.notes())
        return decoded(files, FIT, lambda file: packed.contents[file.path], resize=False)

    def listed(self, location: Location) -> ImageFiles:
        """List the image files of an unpacked copy with their labels; none of them is opened.

        Raises:
            DataError: a validation image has no label, or its class has no training images.
        """
        return self.image_files(location, *as_split(location))

    def image_files(
        self, location: Location, rows: Rows, absent: int, notes: tuple[str, ...] = ()
    ) -> ImageFiles:
        """Label the files; ``absent`` is the number of annotated images that are not there."""
        if absent:
            notes += (f"{ANNOTATIONS} has {counted(absent, 'line')} for absent images.",)
        return ImageFiles.of(location.root, self.title, UNVERIFIED, rows, notes)


def is_folder(folder: Path) -> bool:
    """Return whether a folder is Tiny ImageNet: it has classes and one of its text files."""
    texts = (folder / "wnids.txt", folder / VAL / ANNOTATIONS)
    return (folder / TRAIN).is_dir() and any(path.is_file() for path in texts)


class Packed:
    """The content of an archive of Tiny ImageNet, as bytes in memory.

    Args:
        path: the archive; folders around ``train/`` and ``val/`` do not matter.

    Attributes:
        contents: content by path, which is that of the archive with the path inside behind it.

    Raises:
        DataError: the archive is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.contents: dict[Path, bytes] = {}
        self.annotations: str | None = None
        self.unread = Unread(path)
        for name, data in progress(members(path), f"reading {path}"):
            parts = PurePosixPath(name).parts
            start = next((i for i, part in enumerate(parts) if part in (TRAIN, VAL, TEST)), None)
            if start is not None and not any(ignored(part) for part in parts):
                self.add(parts[start:], data)

    def add(self, parts: tuple[str, ...], data: bytes) -> None:
        """Add the file that is stored as ``train/…``, ``val/…`` or ``test/…``."""
        path = self.path.joinpath(*parts)
        if parts == (VAL, ANNOTATIONS):
            self.annotations = data.decode("utf-8", "surrogateescape")
        elif path.suffix.lower() in TEXTS:
            return
        elif not image_name(path.name):
            self.unread.add("in other formats", [path])
        elif parts[0] == TEST:
            self.unread.add(f"in {TEST}/", [path])
        elif len(parts) < 3:
            self.unread.add("outside class folders", [path])
        else:
            self.contents[path] = data

    def split(self) -> tuple[Rows, int]:
        """Return the split, and the number of annotated images that are not in the archive.

        Raises:
            DataError: a split has no images, or a validation image has no label.
        """
        files = [RawFile(path, len(self.contents[path]), 0, 0) for path in sorted(self.contents)]
        for split in (TRAIN, VAL):
            if not any(file.path.relative_to(self.path).parts[0] == split for file in files):
                raise DataError(
                    f"{self.path} has no images in {split}/<class>/.",
                    f"Fetch {FOLDER}.zip again, or pack the whole folder.",
                )
        if self.annotations is not None:
            return annotated_split(files, self.path, self.annotations)
        return folder_split(files, self.path), 0

    def notes(self) -> tuple[str, ...]:
        """Return the notes on files that are not read."""
        return self.unread.notes()
