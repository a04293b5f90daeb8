"""EMNIST, read from its IDX files: handwritten letters and digits in six splits."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from lbench.config import DatasetConfig, param
from lbench.data.archive import members
from lbench.data.checksum import file_md5, title_and_variant
from lbench.data.dataset import Location, Raw
from lbench.data.idx import pair, parse, spelled, unpack
from lbench.data.published_size import PublishedSize
from lbench.data.source import Source
from lbench.errors import DataError

ARCHIVE = "gzip.zip"
ARCHIVE_MD5 = "58c8d27c78d21e728a6bc7b3cc06412e"
MERGED = tuple(string.digits + string.ascii_uppercase + "abdefghnqrt")
"""Classes where 15 letters look alike in both cases."""
CLASSES = MappingProxyType(
    {
        "balanced": MERGED,
        "byclass": tuple(string.digits + string.ascii_uppercase + string.ascii_lowercase),
        "bymerge": MERGED,
        "letters": tuple(string.ascii_lowercase),
        "digits": tuple(string.digits),
        "mnist": tuple(string.digits),
    }
)
"""Class names by split, in label order."""
SIZES = MappingProxyType(
    {
        "balanced": PublishedSize(47, 112_800, 18_800, balanced=True),
        "byclass": PublishedSize(62, 697_932, 116_323),
        "bymerge": PublishedSize(47, 697_932, 116_323),
        "letters": PublishedSize(26, 124_800, 20_800, balanced=True),
        "digits": PublishedSize(10, 240_000, 40_000, balanced=True),
        "mnist": PublishedSize(10, 60_000, 10_000, balanced=True),
    }
)


class Emnist(Source):
    """Handwritten letters and digits of 28x28 (Cohen et al., 2017, arXiv:1702.05373)."""

    name = "emnist"
    title = "EMNIST"
    epochs = 10
    recipe = MappingProxyType({"lr": 0.003})
    files = f"{ARCHIVE}, or its files emnist-<split>-train-images-idx3-ubyte.gz and so on"
    torchvision = "EMNIST"

    class Config(DatasetConfig):
        """Options: the splits are six ways to divide the same characters into classes."""

        split: Literal["balanced", "byclass", "bymerge", "letters", "digits", "mnist"] = param(
            "balanced",
            help="47 balanced classes; 62 by class, 47 merged; 26 letters; digits; like MNIST",
        )

    config: Emnist.Config

    @property
    def published_size(self) -> PublishedSize:
        """Return the published size of the chosen split."""
        return SIZES[self.config.split]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the four files of the chosen split, unpacked."""
        return tuple(
            f"emnist-{self.config.split}-{which}-{kind}-ubyte"
            for which in ("train", "test")
            for kind in ("images-idx3", "labels-idx1")
        )

    def downloads(self) -> Sequence[dict[str, Any]]:
        """Return the arguments of the one download, which has all splits."""
        return [{"split": self.config.split} for _ in super().downloads()]

    def look(self, directory: Path) -> Location | None:
        """Find the archive, or the four files beside it, in ``gzip/`` or in torchvision's folders.

        Raises:
            DataError: a part of the four files is missing.
        """
        for folder in (directory, directory / self.torchvision / "raw"):
            if (folder / ARCHIVE).is_file():
                return Location.of(folder / ARCHIVE, "zip", [folder / ARCHIVE])
            for inner in (folder, folder / "gzip"):
                paths = {name: spelled(inner, name, packed=True) for name in self.names}
                present = [path for path in paths.values() if path is not None]
                if len(present) == len(paths):
                    return Location.of(inner, "idx", present)
                if present:
                    missing = [name for name, path in paths.items() if path is None]
                    raise DataError(
                        f"{inner} has a part of {self.title}; missing: {', '.join(missing)}.",
                        "Put the missing files (with or without .gz) beside the others.",
                    )
        return None

    def read(self, location: Location) -> Raw:
        """Parse the four files."""
        if location.layout == "zip":
            files = packed_files(location.root, self.names)
            published = file_md5(location.root) == ARCHIVE_MD5
            title, variant = title_and_variant(self.title, published)
        else:
            files = [(file.path, file.path.read_bytes()) for file in location.files]
            title, variant = title_and_variant(self.title, None)
        arrays = []
        for (path, data), name in zip(files, self.names, strict=True):
            shape = (28, 28) if "images" in name else ()
            arrays.append(parse(path, unpack(data, path), shape))
        classes = CLASSES[self.config.split]
        # The letters are numbered from 1.
        first = int(self.config.split == "letters")
        numbers = range(first, first + len(classes))
        # Every image is stored with rows and columns exchanged.
        train, test = (
            pair(
                np.ascontiguousarray(arrays[at].transpose(0, 2, 1)),
                arrays[at + 1],
                files[at + 1][0],
                numbers,
            )
            for at in (0, 2)
        )
        title = title.replace(self.title, f"{self.title} {self.config.split}", 1)
        return Raw(title, variant, classes, train, test)


def packed_files(archive: Path, names: Sequence[str]) -> list[tuple[Path, bytes]]:
    """Return paths, for errors, and contents of gzipped files in the archive.

    Raises:
        DataError: the archive is damaged, or lacks a file.
    """
    wanted = [f"{name}.gz" for name in names]
    files = {PurePosixPath(name).name: data for name, data in members(archive, wanted)}
    if missing := [name for name in wanted if name not in files]:
        raise DataError(f"{archive} lacks {', '.join(missing)}.", f"Fetch {ARCHIVE} again.")
    return [(archive / name, files[name]) for name in wanted]
