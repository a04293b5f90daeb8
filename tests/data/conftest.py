"""Small raw files in the layouts that users have, and the directory of the real ones."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

REAL = os.environ.get("LBENCH_DATA")

Bytes = npt.NDArray[np.uint8]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the directory with the real files."""
    if REAL and Path(REAL).is_dir():
        return Path(REAL)
    pytest.skip("the real data was not found: name its directory in LBENCH_DATA")


@pytest.fixture(autouse=True)
def own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep every test away from the user's data and cache; return the cache directory."""
    monkeypatch.delenv("LBENCH_DATA", raising=False)
    monkeypatch.setenv("LBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    return tmp_path / "cache"


def idx(array: Bytes) -> bytes:
    """Return an IDX file, written by the format's definition and not by lbench."""
    dims = b"".join(d.to_bytes(4, "big") for d in array.shape)
    return bytes([0, 0, 8, array.ndim]) + dims + array.tobytes()


@pytest.fixture
def mnist_arrays() -> dict[str, Bytes]:
    rng = np.random.default_rng(0)
    return {
        "train-images-idx3-ubyte": rng.integers(0, 256, (60, 28, 28), dtype=np.uint8),
        "train-labels-idx1-ubyte": (np.arange(60) % 10).astype(np.uint8),
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        "t10k-labels-idx1-ubyte": (np.arange(20) % 10).astype(np.uint8),
    }


@pytest.fixture
def mnist_dir(tmp_path: Path, mnist_arrays: dict[str, Bytes]) -> Path:
    """Return a directory with a small MNIST, gzipped."""
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for name, array in mnist_arrays.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
    return folder


@pytest.fixture
def write_image() -> Callable[..., Bytes]:
    """Return a function that writes a random image and returns its ``(height, width[, 3])``."""
    from PIL import Image

    rng = np.random.default_rng(1)

    def write(path: Path, shape: tuple[int, ...] = (32, 32, 3)) -> Bytes:
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return pixels

    return write
