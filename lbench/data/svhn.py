"""SVHN, the cropped digits, read from its MATLAB files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from lbench.config import DatasetConfig, param
from lbench.data.checksum import file_md5, title_and_variant
from lbench.data.dataset import Location, Raw, Split
from lbench.data.published_size import PublishedSize
from lbench.data.source import Source
from lbench.errors import DataError

MD5 = MappingProxyType(
    {
        "train": "e26dedcc434d2e4c54c9b2d4a06d8373",
        "test": "eb5a983be6a315427106f1b164d9cef3",
        "extra": "a93ce644f1a588dc4d68dda5feec44a7",
    }
)
"""MD5 of the published files; a copy with these is canonical."""

FILE = "{}_32x32.mat"
MEND = "Fetch this file again from http://ufldl.stanford.edu/housenumbers."


class Svhn(Source):
    """73,257 training and 26,032 test digits of house numbers, 32x32 (Netzer et al., 2011)."""

    name = "svhn"
    title = "SVHN"
    files = "train_32x32.mat and test_32x32.mat (with extra=true extra_32x32.mat too)"
    torchvision = "SVHN"

    class Config(DatasetConfig):
        """Options: the extra images are easier and seven times as many."""

        extra: bool = param(False, help="Train on the 531,131 extra images as well")

    config: Svhn.Config

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the files that are read: the training files, then the test file."""
        return ("train", "extra", "test") if self.config.extra else ("train", "test")

    @property
    def published_size(self) -> PublishedSize:
        """Return the published size, with the extra images if they are chosen."""
        return PublishedSize(10, 604_388 if self.config.extra else 73_257, 26_032)

    def downloads(self) -> Sequence[dict[str, Any]]:
        """Return the arguments that download the files that are missing."""
        present = self.download_dir
        return [
            {"split": part} for part in self.parts if not (present / FILE.format(part)).is_file()
        ]

    def look(self, directory: Path) -> Location | None:
        """Find the files; None where there are none, or the extra images alone are missing.

        Raises:
            DataError: the training or the test file is missing.
        """
        paths = [directory / FILE.format(part) for part in self.parts]
        missing = [path.name for path in paths if not path.is_file()]
        # The extra images may be in another directory, with a copy of the other two files.
        if len(missing) == len(paths) or missing == [FILE.format("extra")]:
            return None
        if missing:
            raise DataError(
                f"{directory} has a part of {self.title}; missing: {', '.join(missing)}.",
                "Put the missing files beside the others.",
            )
        return Location.of(directory, "mat", paths)

    def read(self, location: Location) -> Raw:
        """Decode the files."""
        *train, test = (split(file.path) for file in location.files)
        sums = [file_md5(file.path) for file in location.files]
        published = sums == [MD5[part] for part in self.parts]
        title = f"{self.title} with extra" if self.config.extra else self.title
        title, variant = title_and_variant(title, published)
        joined = Split(
            np.concatenate([part.images for part in train]),
            np.concatenate([part.labels for part in train]),
        )
        return Raw(title, variant, tuple("0123456789"), joined, test)


def split(path: Path) -> Split:
    """Decode one file: images ``(32, 32, 3, n)`` and labels from 1 to 10, where 10 is the digit 0.

    Raises:
        DataError: SciPy is not installed, or the file is damaged or has other content.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DataError(
            f"{path} is a MATLAB file, which cannot be read: SciPy is not installed.",
            "Install it with: pip install scipy",
        ) from error
    try:
        arrays = loadmat(path, variable_names=["X", "y"])
    except Exception as error:  # a damaged file raises nearly anything
        raise DataError(f"{path} is damaged or cut short: {error}.", MEND) from error
    images, labels = arrays.get("X"), arrays.get("y")
    if images is None or images.dtype != np.uint8 or images.shape[:-1] != (32, 32, 3):
        has = "no images X" if images is None else f"images of {images.dtype} {images.shape}"
        raise DataError(f"{path} has {has}; they must be uint8 (32, 32, 3, n).", MEND)
    count = images.shape[-1]
    if labels is None or labels.size != count:
        size = "no" if labels is None else f"{labels.size:,}"
        raise DataError(f"{path} has {size} labels y for {count:,} images.", MEND)
    numbers = labels.ravel().astype(np.int64)
    if count and (numbers.min() < 1 or numbers.max() > 10):
        raise DataError(
            f"{path} has labels from {numbers.min()} to {numbers.max()}; they are 1 to 10.", MEND
        )
    return Split(np.ascontiguousarray(images.transpose(3, 2, 0, 1)), numbers % 10)
