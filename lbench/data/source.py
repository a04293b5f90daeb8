"""Source: finds the raw files of a dataset and decodes them into a Dataset."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import platformdirs

from lbench.config import DatasetConfig
from lbench.data import cache, permutation
from lbench.data.content import check, finish
from lbench.data.dataset import Dataset, Location, MissingDataError, Raw, Split
from lbench.data.paths import absolute, expanded, unreadable
from lbench.data.published_size import PublishedSize, named
from lbench.errors import DataError, UsageError

__all__ = ["Dataset", "Location", "MissingDataError", "Raw", "Source", "Split"]


class Source(ABC):
    """A dataset that can be found and read. Subclasses implement ``look`` and ``read``.

    Class attributes:
        epochs: the default budget.
        recipe: options in which the dataset's default recipe differs from lbench's.
        augmentation: the default, as ``Augmentation.parse`` reads it; "" is none.
        standardize: whether images are brought to zero mean and unit variance per channel
            of the training set; otherwise they are pixels / 255.
        files: the layouts that are recognised, for error messages.
        torchvision: the class of ``torchvision.datasets`` that downloads it, or "".
        cached: whether decoding is worth a file in the cache.
        format: a number that is raised whenever ``read`` returns other arrays for the same files.
        Config: the options; a subclass declares its own in a class that derives from
            :class:`lbench.config.DatasetConfig`.

    Args:
        options: values by option, as numbers or as text.

    Attributes:
        config: the options, checked.

    Raises:
        UsageError: an unknown option, or a value that does not fit.
    """

    Config: ClassVar[type[DatasetConfig]] = DatasetConfig

    name: ClassVar[str]
    title: ClassVar[str]
    epochs: ClassVar[int] = 30
    recipe: ClassVar[Mapping[str, Any]] = {}
    augmentation: ClassVar[str] = ""
    standardize: ClassVar[bool] = True
    files: ClassVar[str] = ""
    torchvision: ClassVar[str] = ""
    cached: ClassVar[bool] = True
    format: ClassVar[int] = 1
    config: DatasetConfig

    def __init__(self, /, **options: object) -> None:
        self.config = self.Config.parse(
            options,
            what=f"dataset {self.name}",
            listing=f"See its options with: lbench datasets {self.name}",
        )

    def options(self) -> dict[str, Any]:
        """Return the options, which are part of a run's fingerprint; ``permute`` if it is given."""
        options = self.config.model_dump(mode="json")
        return {k: v for k, v in options.items() if k != "permute" or v is not None}

    @property
    def permuted(self) -> bool:
        """Return whether the pixels are permuted, so that neighbours are no longer adjacent."""
        return self.config.permute is not None

    @property
    def published_size(self) -> PublishedSize | None:
        """Return the size of the published data with these options; None if there is none.

        A copy of another size has a title and a variant that say so.
        """
        return None

    def directories(self, data_dir: Path | None) -> list[Path]:
        """List the directories to look in, in order."""
        roots = [] if data_dir is None else [data_dir]
        if variable := os.environ.get("LBENCH_DATA"):
            roots.append(expanded(variable, "LBENCH_DATA"))
        directories = [directory for root in roots for directory in (root, root / self.name)]
        return [*directories, self.download_dir]

    @property
    def download_dir(self) -> Path:
        """Return the directory of downloads; the user may put files there by hand."""
        return Path(platformdirs.user_cache_dir("lbench")) / "raw" / self.name

    def downloads(self) -> Sequence[Mapping[str, Any]]:
        """Return the arguments of each call of the torchvision class that downloads the data.

        ``root`` and ``download`` are given beside them. None is returned if all files are in
        ``download_dir``.
        """
        present = self.download_dir
        return [{}] if not (present.is_dir() and any(present.iterdir())) else []

    @abstractmethod
    def look(self, directory: Path) -> Location | None:
        """Find the raw data in ``directory``; None where there is none.

        Raises:
            DataError: a part of it is missing.
        """

    @abstractmethod
    def read(self, location: Location) -> Raw:
        """Decode the files.

        Raises:
            DataError: a file has other content than it should; the message names the file.
        """

    def find(self, data_dir: Path | str | None = None) -> Location:
        """Find the raw data in ``data_dir``, else in ``LBENCH_DATA``, else in the user's cache.

        Raises:
            UsageError: ``data_dir`` is not a directory, or a path names an unknown user.
            MissingDataError: it was not found; the message names every directory that was
                searched, the hint says how to add the files.
            DataError: only some of its files are there, or a directory may not be read.
        """
        try:
            if data_dir is not None:
                data_dir = expanded(data_dir, "--data-dir")
                if not data_dir.is_dir():
                    raise UsageError(
                        f"The data directory {str(data_dir)!r} is not a directory.",
                        "Give --data-dir a directory that exists.",
                    )
            directories = self.directories(data_dir)
            for directory in directories:
                if directory.is_dir():
                    location = self.look(absolute(directory))
                    if location is not None:
                        return location
        except OSError as error:
            raise unreadable(error, data_dir or self.name) from error
        listed = "".join(
            f"\n  {directory}{'' if directory.is_dir() else '  (no such directory)'}"
            for directory in directories
        )
        raise MissingDataError(
            f"Dataset {self.name!r} was not found. Looked in:{listed}",
            f"Put {self.files or 'its files'} in one of these, or name the directory that has "
            "them with --data-dir or LBENCH_DATA.",
        )

    def load(
        self,
        data_dir: Path | str | None = None,
        *,
        cache_dir: Path | str | None = None,
        download: bool = True,
    ) -> Dataset:
        """Find the data, decode it on first use, and open it.

        Args:
            data_dir: the directory that is searched first.
            cache_dir: the directory of decoded data; default ``LBENCH_CACHE``, else the user's
                cache.
            download: whether a dataset that was not found may be downloaded.

        Raises:
            DataError: the data is missing or damaged, or cannot be stored.
            UsageError: ``data_dir`` is not a directory.
        """
        try:
            location = self.find(data_dir)
        except MissingDataError as error:
            if not (download and self.torchvision):
                raise
            from lbench.data.download import download as fetch

            fetch(self.torchvision, self.downloads, self.download_dir, error)
            location = self.find(data_dir)
        return with_notes(self.open(location, cache_dir), location)

    def open(self, location: Location, cache_dir: Path | str | None = None) -> Dataset:
        """Open the dataset, which is decoded on first use, without the notes of its location.

        Raises:
            DataError: the data is damaged, or cannot be stored.
        """
        if not self.cached:
            return finish(self.name, self.decode(location))
        path = self.cache_path(location, cache_dir)
        return cache.fetch(path, self.name, lambda: self.decode(location))

    def decode(self, location: Location) -> Raw:
        """Read, check and name the data; permute the pixels with the option ``permute``.

        Raises:
            DataError: the data cannot be read, or is not what a dataset must be.
        """
        try:
            raw = self.read(location)
        except OSError as error:
            raise unreadable(error, location.root) from error
        except MemoryError as error:
            raise DataError(
                f"{location.root} does not fit into memory when decoded: {error}.",
                "Use fewer or smaller images.",
            ) from error
        return self.checked(raw, location)

    def checked(self, raw: Raw, location: Location) -> Raw:
        """Check and name the data; permute the pixels with the option ``permute``.

        Raises:
            DataError: the data is not what a dataset must be.
        """
        check(raw, location.root)
        if self.published_size is not None:
            raw = named(raw, self.published_size)
        permute = self.config.permute
        return raw if permute is None else permutation.permuted(raw, permute)

    def ready(self, location: Location, cache_dir: Path | str | None = None) -> Dataset | None:
        """Open the dataset if that takes no decoding; return None otherwise."""
        if not self.cached:
            return with_notes(finish(self.name, self.decode(location)), location)
        dataset = cache.load(self.cache_path(location, cache_dir))
        return None if dataset is None else with_notes(dataset, location)

    def streams(self, location: Location) -> bool:
        """Return whether images are decoded when they are needed, and not all in advance."""
        return False

    def cache_options(self) -> dict[str, Any]:
        """Return the options that decide the content of the cache file."""
        return self.options()

    def cache_path(self, location: Location, cache_dir: Path | str | None = None) -> Path:
        """Return the path of the cache file for these raw files, as they are now, and options."""
        # Content changes and swapped names change ctime, even where size and mtime stay. A hash of
        # the content would read everything again at each start. Inode numbers are left out,
        # because some network file systems assign new ones at each mount.
        files = [(str(f.path), f.size, f.mtime_ns, f.ctime_ns) for f in location.files]
        key = [self.format, location.layout, str(location.root), self.cache_options(), files]
        sha = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return cache.directory(cache_dir) / f"{self.name}-{sha[:20]}.bin"


def with_notes(dataset: Dataset, location: Location) -> Dataset:
    """Put the notes on files that were not read in front of those on the decoded data."""
    return dataclasses.replace(dataset, notes=(*location.notes, *dataset.notes))
