"""ImageNet at 32x32, read from its pickled batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lbench.data.archive import members
from lbench.data.checksum import title_and_variant
from lbench.data.dataset import Location, Raw, Split
from lbench.data.progress import progress
from lbench.data.published_size import PublishedSize
from lbench.data.safe_pickle import BatchFormat
from lbench.data.source import Source
from lbench.errors import DataError

BATCHES = tuple(f"train_data_batch_{number}" for number in range(1, 11))
NAMES = (*BATCHES, "val_data")
FOLDERS = ("Imagenet32_train", "Imagenet32_val")
ARCHIVES = tuple(f"{folder}.zip" for folder in FOLDERS)
CLASSES = 1000
FORMAT = BatchFormat("ImageNet 32x32", " and ".join(ARCHIVES), "labels", range(1, CLASSES + 1))


class Imagenet32(Source):
    """The images of ImageNet at 32x32 (Chrabaszcz, Loshchilov and Hutter, 2017, arXiv:1707.08819).

    Classes are named by their numbers in the files, 1 to 1000, whose order is not that of the
    names of ImageNet's folders.
    """

    name = "imagenet32"
    title = "ImageNet 32x32"
    epochs = 40
    augmentation = "crop4,flip"
    files = f"{BATCHES[0]} to {BATCHES[-1]} and val_data, or {' and '.join(ARCHIVES)}"
    published_size = PublishedSize(CLASSES, train=1_281_167, test=50_000)

    def look(self, directory: Path) -> Location | None:
        """Find the batches, in ``directory`` or in the folders of the archives, or the archives.

        Raises:
            DataError: a part of them is missing.
        """
        folders = (directory, *(directory / folder for folder in FOLDERS))
        for names, layout in ((NAMES, "batches"), (ARCHIVES, "zip")):
            candidates = [folder / name for name in names for folder in folders]
            present = {path.name: path for path in candidates if path.is_file()}
            if missing := [name for name in names if name not in present]:
                if not present:
                    continue
                raise DataError(
                    f"{directory} has a part of {self.title}; missing: {', '.join(missing)}.",
                    "Put the missing files beside the others.",
                )
            return Location.of(directory, layout, [present[name] for name in names])
        return None

    def read(self, location: Location) -> Raw:
        """Decode the batches, one after another into one array, which is nearly 4 GB."""
        # Memory is taken when a page is first written, so that a smaller copy takes less.
        room = self.published_size.train
        pixels = np.empty((room, 3, 32, 32), dtype=np.uint8)
        numbers = np.empty(room, dtype=np.int64)
        filled = 0
        for name in progress(NAMES, f"decoding {location.root}", len(NAMES)):
            images, labels = FORMAT.read(batch(location, name), location.root / name)
            if name == NAMES[-1]:
                test = Split(images, labels)
                continue
            if filled + len(images) > room:
                raise DataError(
                    f"{location.root} has more than the {room:,} training images of {self.title}.",
                    f"Use the published {FORMAT.archive}.",
                )
            pixels[filled : filled + len(images)] = images
            numbers[filled : filled + len(images)] = labels
            filled += len(images)
        title, variant = title_and_variant(self.title, None)
        classes = tuple(str(number) for number in FORMAT.numbers)
        return Raw(title, variant, classes, Split(pixels[:filled], numbers[:filled]), test)


def batch(location: Location, name: str) -> bytes:
    """Return the content of a batch.

    Raises:
        DataError: the archives are damaged, or none of them has it.
    """
    for file in location.files:
        if location.layout == "zip":
            for _, data in members(file.path, [name]):
                return data
        elif file.path.name == name:
            return file.path.read_bytes()
    raise DataError(f"{location.root} lacks {name}.", f"Use the published {FORMAT.archive}.")
