"""Lists the images in class folders, and the files there that are not read."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lbench.data.dataset import MissingDataError
from lbench.data.images import SUFFIXES
from lbench.data.progress import progress
from lbench.errors import DataError, printable
from lbench.plurals import counted

SYSTEM = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
"""Files of file managers that do not begin with a dot, in lower case."""
ENDINGS = tuple(SUFFIXES)
PICTURES = frozenset(
    {".avif", ".gif", ".heic", ".heif", ".ico", ".jfif", ".jp2", ".pbm", ".pnm", ".svg", ".tga"}
)
"""Suffixes of pictures that are not read; most GIF files are animated, with 256 colours."""
TEXTS = frozenset({".csv", ".json", ".md", ".txt", ".xml"})
"""Suffixes of files that describe images."""
DEEP = "two or more folders below a folder that is no class, as it has no images itself"
"""Reason for not reading an image that is too deep to belong to a class."""
INNER = "images"
"""The folder inside a class folder that holds the images in Tiny ImageNet."""

HINT = (
    f"An image is a {', '.join(sorted(SUFFIXES))} file in the class folder itself or in its "
    f"folder {INNER!r}. Convert, move or remove what is there. If a folder holds the class "
    "folders, name that folder with --data-dir."
)


def ignored(name: str) -> bool:
    """Return whether a file or folder of this name is hidden or a file manager's own."""
    return name.startswith(".") or name.lower() in SYSTEM


def image_name(name: str) -> bool:
    """Return whether a file of this name is read as an image."""
    # A dataset may have a million files, and Path(name).suffix takes ten times as long.
    return name.lower().endswith(ENDINGS) and not ignored(name)


class Unread:
    """Files that are not read, by the reason, and folders that are not classes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[str, list[Path]] = {}
        self.no_classes: list[str] = []

    def add(self, reason: str, paths: Iterable[Path]) -> None:
        """Add ``paths``, which may be empty, under ``reason``."""
        if added := list(paths):
            self.files.setdefault(reason, []).extend(added)

    def notes(self) -> tuple[str, ...]:
        """Return one sentence per reason, with the number of files and one example."""
        notes = [
            f"Not read: {counted(len(paths), 'file')} {reason}, such as "
            f"{min(path.relative_to(self.root).as_posix() for path in paths)}."
            for reason, paths in self.files.items()
        ]
        if self.no_classes:
            notes.append(f"Not classes, as they have no images: {shortened(self.no_classes)}.")
        return tuple(printable(note) for note in notes)


@dataclass
class Listing:
    """The entries of one folder that are not ignored, sorted by name within each kind."""

    images: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    hidden_images: list[Path] = field(default_factory=list)
    texts: list[Path] = field(default_factory=list)

    def meant(self) -> bool:
        """Return whether a folder without images was probably meant as a class.

        That is the case if it is empty, or has pictures in other formats or one folder deeper.
        Other folders may be stored beside classes: notes, a cache, the runs of lbench.
        """
        if not (self.folders or self.others or self.texts):
            return True
        inside = [listing(folder) for folder in self.folders]
        names = [path for folder in (self, *inside) for path in folder.others]
        return any(folder.images for folder in inside) or any(
            path.suffix.lower() in PICTURES for path in names
        )

    def what(self) -> str:
        """Return a phrase that names the content of a folder without images."""
        parts = []
        if self.images:
            parts.append(counted(len(self.images), "image"))
        if self.folders:
            names = ", ".join(folder.name for folder in self.folders[:3])
            more = ", …" if len(self.folders) > 3 else ""
            parts.append(f"{counted(len(self.folders), 'folder')} ({names}{more})")
        for suffix in sorted({path.suffix.lower() for path in self.others}):
            number = sum(path.suffix.lower() == suffix for path in self.others)
            parts.append(counted(number, f"{suffix} file" if suffix else "file without suffix"))
        for paths, noun in ((self.texts, "text file"), (self.hidden_images, "hidden file")):
            if paths:
                parts.append(counted(len(paths), noun))
        return f"only {' and '.join(parts)}" if parts else "nothing"


def listing(folder: Path) -> Listing:
    """List a folder; one that does not exist is empty.

    Raises:
        OSError: it may not be read.
    """
    content = Listing()
    if not folder.is_dir():
        return content
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = folder / entry.name
            # For a link to itself Path.is_dir is False, where the entry's is_dir raises OSError.
            directory = path.is_dir() if entry.is_symlink() else entry.is_dir()
            if ignored(entry.name):
                # A file that macOS writes beside each file on foreign disks is no image.
                if path.suffix.lower() in SUFFIXES and not entry.name.startswith("._"):
                    content.hidden_images.append(path)
            elif directory:
                content.folders.append(path)
            elif image_name(entry.name):
                content.images.append(path)
            elif path.suffix.lower() in TEXTS:
                content.texts.append(path)
            else:
                content.others.append(path)
    return content


def class_images(folder: Path, unread: Unread, classes: Container[str] | None = None) -> list[Path]:
    """List the images in the class folders of ``folder``, class by class.

    Args:
        folder: the folder with class folders in it.
        unread: takes the files that are not read.
        classes: names of the class folders that are read; None for all.

    Raises:
        MissingDataError: there are class folders, but none has images.
        DataError: a folder that is meant as a class has no images, or two sets of them.
    """
    here = listing(folder)
    paths: list[Path] = []
    lost: list[str] = []
    deep: list[Path] = []
    for label in progress(here.folders, f"listing {folder}", len(here.folders)):
        if classes is not None and label.name not in classes:
            continue
        content = listing(label)
        images = images_of(label, content, unread)
        paths += images
        if not images:
            what = f"{label.relative_to(unread.root).as_posix()} ({content.what()})"
            if content.meant():
                lost.append(what)
            elif pictures := pictures_beneath(label):
                # A program's own folder with figures is no class, so this is no error.
                deep += pictures
            else:
                unread.no_classes.append(what)
    if deep and not (lost or paths):
        raise MissingDataError(
            f"{folder} has no class folders with images, but {counted(len(deep), 'image')} two or "
            f"more folders below them, such as {min(deep).relative_to(folder).as_posix()}.",
            HINT,
        )
    unread.add(DEEP, deep)
    if lost:
        raise (DataError if paths else MissingDataError)(
            f"{folder} has class folders without images that can be read: {shortened(lost)}.", HINT
        )
    unread.add("outside class folders", here.images)
    return paths


def images_of(label: Path, content: Listing, unread: Unread) -> list[Path]:
    """List the images of one class, and add the other files to ``unread``.

    Raises:
        DataError: both the class folder and its folder ``images`` have images.
    """
    inner = listing(label / INNER)
    if content.images and inner.images:
        raise DataError(
            f"{label} has {counted(len(content.images), 'image')} of its own and "
            f"{len(inner.images):,} in {INNER}/: it is not clear which are meant.",
            "Keep the images in one of the two.",
        )
    if not (content.images or inner.images):
        return []
    folders, read = content.folders, [content]
    if inner.images:
        folders = [path for path in folders if path.name != INNER] + inner.folders
        read.append(inner)
    unread.add("in folders inside class folders", beneath(folders))
    for part in read:
        unread.add("in other formats", part.others)
        unread.add("with a leading dot", part.hidden_images)
    return content.images or inner.images


def beneath(folders: Iterable[Path]) -> Iterable[Path]:
    """Yield the files in ``folders`` and below; a link is listed, not followed, as it may loop."""
    for folder in folders:
        if folder.is_symlink():
            yield folder
            continue
        for root, inside, files in os.walk(folder):
            inside[:] = [name for name in inside if not ignored(name)]
            for name in files:
                if not ignored(name) and Path(name).suffix.lower() not in TEXTS:
                    yield Path(root, name)


def pictures_beneath(folder: Path) -> list[Path]:
    """List the images in ``folder`` and below, including formats that are not read."""
    return [
        path
        for path in beneath([folder])
        if image_name(path.name) or path.suffix.lower() in PICTURES
    ]


def images_beneath(folder: Path) -> list[Path]:
    """List the images in ``folder`` and below."""
    return [path for path in beneath([folder]) if image_name(path.name)]


def shortened(names: list[str]) -> str:
    """Join the first five names and count the others."""
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"
