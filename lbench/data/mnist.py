"""MNIST, read from its IDX files, gzipped or not, each checked to its last byte."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from lbench.data.dataset import Location, Raw, Split
from lbench.data.published_size import PublishedSize
from lbench.data.source import Source
from lbench.errors import DataError

MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""MD5 of the published files, unpacked; a copy with these is canonical."""

MEND = "Fetch this file again; MNIST is four files, 11.6 MB gzipped."


class Mnist(Source):
    """60,000 training and 10,000 test digits of 28x28 (LeCun, Cortes and Burges, 1998)."""

    name = "mnist"
    title = "MNIST"
    epochs = 15
    recipe = MappingProxyType({"lr": 0.003})
    standardize = True
    files = f"{', '.join(MD5)} (each as it is or with .gz)"
    torchvision = "MNIST"
    format = 2
    published_size = PublishedSize(classes=10, train=60_000, test=10_000)

    def look(self, directory: Path) -> Location | None:
        """Find the four files, also in torchvision's folders."""
        for folder in (directory, directory / "MNIST" / "raw"):
            paths = {name: spelled(folder, name) for name in MD5}
            present = [path for path in paths.values() if path is not None]
            if not present:
                continue
            if missing := [name for name, path in paths.items() if path is None]:
                raise DataError(
                    f"{folder} has a part of MNIST; missing: {', '.join(missing)}.",
                    "Put the missing files (with or without .gz) beside the others.",
                )
            return Location.of(folder, "idx", present)
        return None

    def read(self, location: Location) -> Raw:
        """Parse the four files and compare their check sums."""
        arrays, canonical = [], True
        for (name, md5), file in zip(MD5.items(), location.files, strict=True):
            data = unpack(file.path)
            canonical &= hashlib.md5(data, usedforsecurity=False).hexdigest() == md5
            arrays.append(parse(file.path, data, shape=(28, 28) if "images" in name else ()))
        return Raw(
            title=self.title if canonical else f"{self.title} (modified)",
            variant="canonical" if canonical else "modified",
            classes=tuple("0123456789"),
            train=pair(arrays[0], arrays[1], location.files[1].path),
            test=pair(arrays[2], arrays[3], location.files[3].path),
        )


def spelled(folder: Path, name: str) -> Path | None:
    """Return the path of the file under any of its usual spellings; None where there is none."""
    dotted = name.replace("-idx", ".idx")
    for spelling in (name, f"{name}.gz", dotted, f"{dotted}.gz"):
        if (folder / spelling).is_file():
            return folder / spelling
    return None


def unpack(path: Path) -> bytes:
    """Read a file and unzip it if it is gzip.

    Raises:
        DataError: it is damaged or cut short.
    """
    data = path.read_bytes()
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


def pair(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], path: Path) -> Split:
    """Make a split of images ``(n, 28, 28)`` and labels ``(n,)``.

    Raises:
        DataError: their numbers differ, or a label is above 9.
    """
    if len(images) != len(labels):
        raise DataError(f"{path} has {len(labels)} labels for {len(images)} images.", MEND)
    if len(labels) and labels.max() > 9:
        raise DataError(f"{path} has the label {labels.max()}; labels are 0 to 9.", MEND)
    return Split(images[:, None], labels.astype(np.int64))
