"""The 1,797 handwritten 8x8 digits that are part of lbench: real data without a download.

Source: Optical Recognition of Handwritten Digits (E. Alpaydin and C. Kaynak, UCI, 1998), the part
that scikit-learn bundles. ``digits.npz`` holds ``round(v * 255 / 16)`` for its values v in 0..16.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np

from lbench.data.dataset import Location, Raw, Split
from lbench.data.source import Source
from lbench.data.split import holdout

FILE = Path(__file__).with_name("digits.npz")


class Digits(Source):
    """The embedded digits; the test set is a fixed, stratified 20 %."""

    name = "digits"
    title = "Digits (8x8)"
    epochs = 30
    recipe = MappingProxyType({"batch": 32, "lr": 0.003})
    standardize = False
    files = "digits.npz"
    cached = False

    def directories(self, data_dir: Path | None) -> list[Path]:
        """List the package's own directory alone."""
        return [FILE.parent]

    def look(self, directory: Path) -> Location | None:
        """Find the embedded file."""
        path = directory / FILE.name
        return Location.of(path, "npz", [path]) if path.is_file() else None

    def read(self, location: Location) -> Raw:
        """Split the embedded arrays."""
        with np.load(location.root, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"].astype(np.int64)
        images = np.ascontiguousarray(images[:, None])
        train, test = holdout(labels, 0.2, "digits")
        return Raw(
            title=self.title,
            variant="embedded",
            classes=tuple("0123456789"),
            train=Split(images[train], labels[train]),
            test=Split(images[test], labels[test]),
        )
