"""CIFAR-100, read from its pickled files, with its 100 classes or their 20 superclasses."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Literal

from lbench.config import DatasetConfig, param
from lbench.data.checksum import md5, title_and_variant
from lbench.data.dataset import Location, Raw, Split
from lbench.data.file_set import FileSet
from lbench.data.published_size import PublishedSize, with_remark
from lbench.data.safe_pickle import BatchFormat
from lbench.data.source import Source

MD5 = MappingProxyType(
    {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    }
)
"""MD5 of the published files; a copy with these is canonical."""

FILES = FileSet("cifar-100-python", "cifar-100-python.tar.gz", tuple(MD5))
CLASSES = MappingProxyType({"fine": 100, "coarse": 20})


class Cifar100(Source):
    """50,000 training and 10,000 test images of 32x32 in 100 classes (Krizhevsky, 2009)."""

    name = "cifar100"
    title = "CIFAR-100"
    augmentation = "crop4,flip"
    files = f"{FILES.folder}/ or {FILES.archive}"
    torchvision = "CIFAR100"

    class Config(DatasetConfig):
        """Options: every image has a fine and a coarse label."""

        classes: Literal["fine", "coarse"] = param(
            "fine", help="100 fine classes, or the 20 coarse ones that each join five of them"
        )

    config: Cifar100.Config

    @property
    def published_size(self) -> PublishedSize:
        """Return the published size with the chosen classes."""
        return PublishedSize(CLASSES[self.config.classes], 50_000, 10_000, balanced=True)

    def look(self, directory: Path) -> Location | None:
        """Find the three files, in their folder or in the archive."""
        return FILES.look(directory)

    def read(self, location: Location) -> Raw:
        """Decode the pickles."""
        kind, count = self.config.classes, CLASSES[self.config.classes]
        form = BatchFormat(self.title, FILES.archive, f"{kind}_labels", range(count))
        files = FILES.read(location)
        train, test = (
            Split(*form.read(files[name], location.root / name)) for name in ("train", "test")
        )
        published = all(md5(files[name]) == value for name, value in MD5.items())
        title, variant = title_and_variant(self.title, published)
        return Raw(
            title=title if kind == "fine" else with_remark(title, f"{count} coarse classes"),
            variant=variant,
            classes=form.names(files["meta"], location.root / "meta", f"{kind}_label_names"),
            train=train,
            test=test,
        )
