"""IDX files, gzipped or not, each checked to its last byte."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lbench.data.dataset import Split
from lbench.errors import DataError

MEND = "Fetch or unpack this file again."


def spelled(folder: Path, name: str, *, packed: bool) -> Path | None:
    """Return the path of the file under any of its usual spellings; None where there is none.

    Args:
        folder: the folder with the file.
        name: its name as published, without ``.gz``.
        packed: whether a gzipped file is preferred.
    """
    endings = (".gz", "") if packed else ("", ".gz")
    for spelling in (f"{n}{end}" for n in (name, name.replace("-idx", ".idx")) for end in endings):
        if (folder / spelling).is_file():
            return folder / spelling
    return None


def unpack(data: bytes, path: Path) -> bytes:
    """Unzip the content of a file if it is gzip.

    Args:
        data: the content.
        path: the path in errors.

    Raises:
        DataError: it is damaged or cut short.
    """
    if data[:2] != b"\x1f\x8b" and path.suffix != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged or cut short: {error}.", MEND) from error


def parse(path: Path, data: bytes, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Read the array ``(n, *shape)`` from the content of an IDX file.

    Raises:
        DataError: the content is not such an array.
    """
    rank = 1 + len(shape)
    start = 4 + 4 * rank
    magic = bytes([0, 0, 8, rank])
    if len(data) < start or data[:4] != magic:
        raise DataError(
            f"{path} is no IDX file of {rank}-dimensional bytes: "
            f"it starts with {data[:4].hex() or 'nothing'}, not {magic.hex()}.",
            MEND,
        )
    dims = tuple(int(d) for d in np.frombuffer(data, dtype=">u4", count=rank, offset=4))
    if dims[1:] != shape:
        raise DataError(f"{path} holds items of {dims[1:]}, not {shape}.", MEND)
    expected = start + int(np.prod(dims, dtype=object))
    if len(data) != expected:
        raise DataError(f"{path} has {len(data)} bytes; its header says {expected}.", MEND)
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(dims)


def pair(
    images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], path: Path, numbers: range
) -> Split:
    """Make a split of images ``(n, 28, 28)`` and labels ``(n,)``.

    Args:
        images: pixels.
        labels: labels as in the file.
        path: the path of the labels in errors.
        numbers: all labels in the file; the first one becomes 0.

    Raises:
        DataError: the numbers of images and labels differ, or a label is not in ``numbers``.
    """
    if len(images) != len(labels):
        raise DataError(f"{path} has {len(labels)} labels for {len(images)} images.", MEND)
    first, last = numbers[0], numbers[-1]
    for label in (labels.min(), labels.max()) if len(labels) else ():
        if not first <= label <= last:
            raise DataError(f"{path} has the label {label}; labels are {first} to {last}.", MEND)
    return Split(images[:, None], labels.astype(np.int64) - first)
