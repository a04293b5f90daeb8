"""STL-10, its labelled part, read from its binary files."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np

from lbench.data.checksum import md5, title_and_variant
from lbench.data.dataset import Location, Raw, Split
from lbench.data.file_set import FileSet
from lbench.data.published_size import PublishedSize
from lbench.data.source import Source
from lbench.errors import DataError

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
MD5 = MappingProxyType(
    {
        "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
        "train_y.bin": "5a34089d4802c674881badbb80307741",
        "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
        "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
    }
)
"""MD5 of the published files; a copy with these is canonical."""

FILES = FileSet("stl10_binary", "stl10_binary.tar.gz", tuple(MD5))
MEND = f"Fetch or unpack {FILES.archive} again."
SIDE = 96


class Stl10(Source):
    """5,000 training and 8,000 test images of 96x96 (Coates, Lee and Ng, 2011).

    Its 100,000 images without labels are not read.
    """

    name = "stl10"
    title = "STL-10"
    epochs = 50
    augmentation = "crop12,flip"
    files = f"{FILES.folder}/ or {FILES.archive}"
    torchvision = "STL10"
    published_size = PublishedSize(classes=10, train=5_000, test=8_000, balanced=True)

    def look(self, directory: Path) -> Location | None:
        """Find the four files, in their folder or in the archive."""
        return FILES.look(directory)

    def read(self, location: Location) -> Raw:
        """Decode the files."""
        files = FILES.read(location)
        train, test = (split(files, which, location.root) for which in ("train", "test"))
        published = all(md5(files[name]) == value for name, value in MD5.items())
        title, variant = title_and_variant(self.title, published)
        return Raw(title, variant, CLASSES, train, test)


def split(files: dict[str, bytes], which: str, root: Path) -> Split:
    """Decode the images and labels of one split.

    Args:
        files: contents by file name.
        which: ``train`` or ``test``.
        root: the path in errors.

    Raises:
        DataError: the files have other sizes or labels than they should.
    """
    pixels, numbers = (files[f"{which}_{part}.bin"] for part in ("X", "y"))
    size = 3 * SIDE * SIDE
    if not pixels or len(pixels) % size:
        raise DataError(
            f"{root / which}_X.bin has {len(pixels):,} bytes, which are no whole number of images "
            f"of {size:,} bytes.",
            MEND,
        )
    # The file has each channel column by column.
    columns = np.frombuffer(pixels, dtype=np.uint8).reshape(-1, 3, SIDE, SIDE)
    images = np.ascontiguousarray(columns.transpose(0, 1, 3, 2))
    labels = np.frombuffer(numbers, dtype=np.uint8).astype(np.int64) - 1
    if len(labels) != len(images):
        raise DataError(
            f"{root / which}_X.bin has {len(images):,} images, but {root / which}_y.bin has "
            f"{len(labels):,} labels.",
            MEND,
        )
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        raise DataError(
            f"{root / which}_y.bin has labels from {labels.min() + 1} to {labels.max() + 1}; they "
            f"are 1 to {len(CLASSES)}.",
            MEND,
        )
    return Split(images, labels)
