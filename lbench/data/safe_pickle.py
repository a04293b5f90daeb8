"""Reads CIFAR-10's pickled batches without letting the pickle run code.

A pickle may call anything that it can import. This reader lets it import three names, each
replaced by a class that only stores its arguments; NumPy is never called from the pickle.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lbench.errors import DataError


class StandIn:
    """Stores the arguments and the state of an array or a dtype while unpickling."""

    def __init__(self, *args: object) -> None:
        self.args = args
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


class Reader(pickle.Unpickler):
    """Unpickles arrays as stand-ins and refuses every other import."""

    def find_class(self, module: str, name: str) -> type[StandIn]:
        """Return the stand-in.

        Raises:
            UnpicklingError: it is another name than those of a plain array.
        """
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it wants to import {module}.{name}")
        return StandIn


def read_batch(data: bytes, path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return images ``(n, 3, 32, 32)`` and labels ``(n,)`` of one pickled CIFAR-10 batch.

    Raises:
        DataError: it is not such a batch, or it imports anything else.
    """
    try:
        batch = Reader(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(
            f"{path} was refused: no plain CIFAR-10 batch ({error}).",
            "Use the published cifar-10-python.tar.gz.",
        ) from error
    try:
        fields = {key.decode() if isinstance(key, bytes) else key: batch[key] for key in batch}
        _, shape, dtype, fortran, pixels = fields["data"].state
        if dtype.args[0] not in ("u1", b"u1") or fortran or not isinstance(pixels, bytes):
            raise ValueError("the data are not bytes in C order")
        # Another shape with the same number of bytes, such as (n, 32, 32, 3), orders pixels
        # differently.
        if len(shape) != 2 or shape[1] != 3072:
            raise ValueError(f"the data have shape {shape}, not (n, 3072)")
        images = np.frombuffer(pixels, dtype=np.uint8).reshape(-1, 3, 32, 32)
        if len(images) != shape[0]:
            raise ValueError(f"the data have {len(images)} images, not {shape[0]}")
        labels = fields["labels"]
        if not all(type(label) is int and 0 <= label <= 9 for label in labels):
            raise ValueError("a label is not a number from 0 to 9")
        if len(labels) != len(images):
            raise ValueError(f"{len(labels)} labels for {len(images)} images")
        return images, np.array(labels, dtype=np.int64)
    except (AttributeError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is no CIFAR-10 batch: {error}.", "Use the published cifar-10-python.tar.gz."
        ) from error
