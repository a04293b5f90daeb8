"""Reads pickled batches of CIFAR and downsampled ImageNet without letting the pickle run code.

A pickle may call anything that it can import. This reader lets it import three names, each
replaced by a class that only stores its arguments; NumPy is never called from the pickle.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
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


@dataclass(frozen=True)
class BatchFormat:
    """The content of a dataset's pickled batches of 32x32 images.

    Args:
        title: title of the dataset in errors.
        archive: the published archive in hints.
        labels: name of the labels in a batch.
        numbers: all labels in the file; the first one becomes 0.
    """

    title: str
    archive: str
    labels: str
    numbers: range

    def read(self, data: bytes, path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Return images ``(n, 3, 32, 32)`` and labels ``(n,)``, from 0, of one batch.

        Args:
            data: the pickle.
            path: its path in errors.

        Raises:
            DataError: it is not such a batch, or it imports anything else than arrays.
        """
        fields = self.fields(data, path)
        try:
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
            labels = fields[self.labels]
            first, last = self.numbers[0], self.numbers[-1]
            if not all(type(label) is int and first <= label <= last for label in labels):
                raise ValueError(f"a label is not a number from {first} to {last}")
            if len(labels) != len(images):
                raise ValueError(f"{len(labels)} labels for {len(images)} images")
            return images, np.array(labels, dtype=np.int64) - first
        except (AttributeError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise self._misfit(path, str(error)) from error

    def names(self, data: bytes, path: Path, key: str) -> tuple[str, ...]:
        """Return the class names that a pickle has under ``key``.

        Raises:
            DataError: it does not have one name per label.
        """
        try:
            names = self.fields(data, path)[key]
            texts = tuple(n.decode() if isinstance(n, bytes) else str(n) for n in names)
        except (KeyError, TypeError, UnicodeDecodeError) as error:
            raise self._misfit(path, f"it has no {key}") from error
        if len(set(texts)) != len(self.numbers):
            raise self._misfit(path, f"{key} has {len(set(texts))} names, not {len(self.numbers)}")
        return texts

    def fields(self, data: bytes, path: Path) -> dict[str, Any]:
        """Return the pickled dictionary.

        Raises:
            DataError: it is no dictionary, or imports anything else than arrays.
        """
        try:
            batch = Reader(io.BytesIO(data), encoding="bytes").load()
        except Exception as error:  # a damaged pickle raises nearly anything
            raise DataError(
                f"{path} was refused: no plain {self.title} batch ({error}).", self._hint
            ) from error
        if not isinstance(batch, dict):
            raise self._misfit(path, "it has no names")
        return {
            key.decode(errors="replace") if isinstance(key, bytes) else str(key): value
            for key, value in batch.items()
        }

    @property
    def _hint(self) -> str:
        return f"Use the published {self.archive}."

    def _misfit(self, path: Path, problem: str) -> DataError:
        return DataError(f"{path} is no {self.title} batch: {problem}.", self._hint)
