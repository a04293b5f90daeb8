"""A split whose images stay in their files until they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lbench.data.dataset import Labels, Pixels, Split
from lbench.data.fit import Fit
from lbench.data.image_files import LabelledFiles, in_threads
from lbench.data.paths import read


@dataclass(frozen=True, eq=False)
class FileSplit(Split):
    """Image files and their labels; ``images`` is empty, and ``pixels`` decodes.

    Args:
        root: the directory of the dataset.
        names: paths of the files below it, one per example.
        fit: how an image becomes a square.
        order: order of the pixels of every image, int64, ``(height * width,)``; None where they
            are not permuted.
    """

    root: Path
    names: Sequence[str]
    fit: Fit
    order: Labels | None = None

    @classmethod
    def of(cls, files: LabelledFiles, root: Path, fit: Fit) -> FileSplit:
        """Return the split of these files, which are below ``root``."""
        start = len(str(root / "_")) - 1  # much quicker than Path.relative_to
        names = [str(file.path)[start:] for file in files.files]
        return cls(np.empty((0, 3, fit.size, fit.size), np.uint8), files.labels, root, names, fit)

    def path(self, index: int) -> str:
        """Return the path of the image at this index."""
        return str(self.root / self.names[index])

    def pixels(self, indices: Labels | None = None) -> Pixels:
        """Decode the images at ``indices`` (None: all) in threads of this process."""
        chosen = range(len(self)) if indices is None else indices.tolist()
        images = np.empty((len(chosen), *self.shape), np.uint8)
        for row, image in enumerate(in_threads(self._decode, chosen)):
            images[row] = image
        return images

    def part(self, indices: Labels) -> FileSplit:
        """Return the split of the files at ``indices`` alone; nothing is decoded."""
        names = [self.names[index] for index in indices.tolist()]
        return replace(self, labels=self.labels[indices], names=names)

    def _decode(self, index: int) -> Pixels:
        path = self.path(index)
        image = self.fit.decode(read(path), path)
        if self.order is None:
            return image
        return image.reshape(len(image), -1)[:, self.order].reshape(image.shape)
