"""Source: where a dataset's raw files lie, and how they become a Dataset."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import platformdirs

from lbench.data import cache, permutation
from lbench.data.dataset import Dataset, Found, MissingDataError, Raw, Split
from lbench.data.decoded import check, finish
from lbench.data.options import Option, whole
from lbench.data.paths import expanded
from lbench.errors import DataError, UsageError, unknown

__all__ = ["Dataset", "Found", "MissingDataError", "Raw", "Source", "Split"]


class Source(ABC):
    """A dataset that can be found and read. Subclasses implement ``look`` and ``read``.

    Class attributes:
        epochs: the default budget.
        recipe: what the default recipe changes for this dataset.
        augmentation: the default, in the words of ``Augmentation.parse``; "" is none.
        standardize: whether images are brought to zero mean and unit variance per channel
            of the training set; otherwise they are pixels / 255.
        files: the layouts that are recognised, for error messages.
        torchvision: the class of ``torchvision.datasets`` that downloads it, or "".
        cached: whether decoding is worth a file in the cache.
        format: raised whenever ``read`` comes to give other arrays for the same files.
        described: the options; a subclass adds its own.

    Args:
        permute: seed of a permutation of the pixels, the same for every image; None for none.

    Raises:
        UsageError: an unknown option, or a value that does not fit.
    """

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
    described: ClassVar[tuple[Option, ...]] = (
        Option(
            "permute",
            None,
            "a whole number of at least 0, or none",
            "Seed of one permutation of the pixels of all images",
        ),
    )
    permute: int | None = None

    def __init__(self, /, permute: object = None, **options: object) -> None:
        for option in options:
            names = sorted(each.name for each in self.described)
            listing = f"Options of {self.name}: {', '.join(names)}."
            raise unknown(f"option of dataset {self.name}:", option, names, listing=listing)
        if permute is not None and permute != "none":
            self.permute = whole(self.name, "permute", permute, 0, None, example=1)

    def options(self) -> Mapping[str, Any]:
        """Tell what was asked for and changes the arrays; part of a run's fingerprint.

        A subclass with options of its own adds them to these.
        """
        return {} if self.permute is None else {"permute": self.permute}

    @property
    def permuted(self) -> bool:
        """Whether pixels have lost their neighbours."""
        return self.permute is not None

    def places(self, data_dir: Path | None) -> list[Path]:
        """List the directories to look in, in order."""
        roots = [] if data_dir is None else [data_dir]
        if variable := os.environ.get("LBENCH_DATA"):
            roots.append(expanded(variable, "LBENCH_DATA"))
        places = [place for root in roots for place in (root, root / self.name)]
        return [*places, self.download_dir]

    @property
    def download_dir(self) -> Path:
        """Where downloads go; the user may put files there by hand."""
        return Path(platformdirs.user_cache_dir("lbench")) / "raw" / self.name

    @abstractmethod
    def look(self, place: Path) -> Found | None:
        """Find the raw data in ``place``, or None. Raises DataError when a part is missing."""

    @abstractmethod
    def read(self, found: Found) -> Raw:
        """Decode. Raises DataError, naming the file, for anything that is not as it should be."""

    def find(self, data_dir: Path | str | None = None) -> Found:
        """Where the raw data lies: ``data_dir``, then ``LBENCH_DATA``, then the user's cache.

        Raises:
            UsageError: ``data_dir`` is not a directory, or a path names an unknown user.
            MissingDataError: it lies nowhere; names every place and how to put it there.
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
            places = self.places(data_dir)
            for place in places:
                if place.is_dir() and (found := self.look(place)) is not None:
                    return found
        except OSError as error:
            raise unreadable(error, data_dir or self.name) from error
        listed = "".join(
            f"\n  {place}{'' if place.is_dir() else '  (no such directory)'}" for place in places
        )
        raise MissingDataError(
            f"Dataset {self.name!r} was not found. Looked in:{listed}",
            f"Put {self.files} in one of these, or name the directory that has it with "
            "--data-dir or LBENCH_DATA.",
        )

    def load(
        self,
        data_dir: Path | str | None = None,
        *,
        cache_dir: Path | str | None = None,
        download: bool = True,
    ) -> Dataset:
        """Find, decode on first use, and open.

        Args:
            data_dir: looked in first.
            cache_dir: where decoded data is kept; default ``LBENCH_CACHE``, else the user's cache.
            download: whether a dataset that lies nowhere may be downloaded.

        Raises:
            DataError: missing, damaged, or not storable.
            UsageError: ``data_dir`` is not a directory.
        """
        try:
            found = self.find(data_dir)
        except MissingDataError as error:
            if not (download and self.torchvision):
                raise
            from lbench.data.download import download as fetch

            fetch(self.torchvision, self.download_dir, error)
            found = self.find(data_dir)
        if not self.cached:
            return with_notes(finish(self.name, self.decode(found)), found)
        path = self.cache_path(found, cache_dir)
        return with_notes(cache.fetch(path, self.name, lambda: self.decode(found)), found)

    def decode(self, found: Found) -> Raw:
        """Read, check, and permute the pixels if that was asked for. Raises DataError."""
        try:
            raw = self.read(found)
        except OSError as error:
            raise unreadable(error, found.root) from error
        except MemoryError as error:
            raise DataError(
                f"{found.root} does not fit into memory when decoded: {error}.",
                "Use fewer or smaller images.",
            ) from error
        check(raw, found.root)
        return raw if self.permute is None else permutation.permuted(raw, self.permute)

    def ready(self, found: Found, cache_dir: Path | str | None = None) -> Dataset | None:
        """Open what can be opened at once; None for what has to be decoded first."""
        if not self.cached:
            return with_notes(finish(self.name, self.decode(found)), found)
        dataset = cache.load(self.cache_path(found, cache_dir))
        return None if dataset is None else with_notes(dataset, found)

    def cache_path(self, found: Found, cache_dir: Path | str | None = None) -> Path:
        """Name the cache file for these raw files as they are now and these options."""
        # Content changes and swapped names change ctime, even where size and mtime stay. A hash of
        # the content would read everything again at each start; inode numbers are left out, as
        # some network file systems make them up anew.
        files = [(str(f.path), f.size, f.mtime_ns, f.ctime_ns) for f in found.files]
        # Permuted pixels are other content, whatever a subclass tells of its options.
        options = {**self.options(), **Source.options(self)}
        key = [self.format, found.layout, str(found.root), options, files]
        sha = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return cache.directory(cache_dir) / f"{self.name}-{sha[:20]}.bin"


def unreadable(error: OSError, where: Path | str) -> DataError:
    """Return the error for what the system does not let lbench read, ``where`` if it names none."""
    return DataError(
        f"{error.filename or where} cannot be read: {error.strerror or error}.",
        "Check that it is there and that you may read it.",
    )


def with_notes(dataset: Dataset, found: Found) -> Dataset:
    """Put the notes on what lies beside the files before those on what was decoded."""
    return dataclasses.replace(dataset, notes=(*found.notes, *dataset.notes))
