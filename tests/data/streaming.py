"""Folders of photograph-like JPEG files for the tests of streams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Bytes = npt.NDArray[np.uint8]


def photograph(seed: int, height: int, width: int) -> Bytes:
    """Return a smooth image with edges and some noise, ``(height, width, 3)``."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64)
    smooth[height // 3 : height // 2, width // 4 : width // 2] += 60
    return (smooth + rng.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)


def write_photograph(path: Path, seed: int, height: int = 40, width: int = 60) -> None:
    """Write a photograph as JPEG of quality 90."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photograph(seed, height, width)).save(path, format="JPEG", quality=90)


def write_folder(root: Path, train: int = 12, test: int = 3) -> Path:
    """Write two classes with these numbers of images each, in ``train/`` and ``test/``."""
    for which, count in (("train", train), ("test", test)):
        for label in ("cat", "dog"):
            for i in range(count):
                seed = 1000 * (which == "test") + 100 * (label == "dog") + i
                write_photograph(root / which / label / f"{i:02}.jpg", seed)
    return root
