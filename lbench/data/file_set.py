"""A fixed set of published files: in a folder, in the data directory, or in a tar archive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lbench.data.archive import members
from lbench.data.dataset import Location
from lbench.errors import DataError


@dataclass(frozen=True)
class FileSet:
    """The files of a dataset, and where they are as published.

    Args:
        folder: name of the folder with the files.
        archive: name of the archive with that folder.
        names: names of the files.
        layouts: the layouts of locations that are a folder and an archive.
    """

    folder: str
    archive: str
    names: tuple[str, ...]
    layouts: tuple[str, str] = ("folder", "archive")

    def look(self, directory: Path) -> Location | None:
        """Find the files; None where none of them is in ``directory``.

        Raises:
            DataError: a part of them is missing.
        """
        for folder in (directory / self.folder, directory):
            missing = [name for name in self.names if not (folder / name).is_file()]
            if not missing:
                paths = [folder / name for name in self.names]
                return Location.of(folder, self.layouts[0], paths)
            if folder.name == self.folder and folder.is_dir():
                raise DataError(
                    f"{folder} lacks {', '.join(missing)}.", f"Unpack {self.archive} again."
                )
        archive = directory / self.archive
        return Location.of(archive, self.layouts[1], [archive]) if archive.is_file() else None

    def read(self, location: Location) -> dict[str, bytes]:
        """Return the contents of all files by name.

        Raises:
            DataError: the archive is damaged, or lacks a file.
        """
        if location.layout == self.layouts[0]:
            return {file.path.name: file.path.read_bytes() for file in location.files}
        files = {
            PurePosixPath(name).name: data for name, data in members(location.root, self.names)
        }
        if missing := [name for name in self.names if name not in files]:
            raise DataError(
                f"{location.root} lacks {', '.join(missing)}.", f"Fetch {self.archive} again."
            )
        return files
