"""Reads tar archives once from beginning to end, with their check sums."""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from lbench.errors import DataError


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of the regular files in a ``.tar.gz`` or ``.tar.xz``, in order.

    Nothing is unpacked to disk.

    Raises:
        DataError: the archive is damaged or cut short; this is raised at its end at the latest.
    """
    opener = lzma.open if path.suffix == ".xz" else gzip.open
    try:
        # tarfile's own "r|xz" would accept a compressed stream that is cut short.
        with cast("IO[bytes]", opener(path, "rb")) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for member in tar:
                    if member.isfile() and (file := tar.extractfile(member)) is not None:
                        yield member.name, file.read()
            while stream.read(1 << 20):
                pass  # the check sum is behind the last member
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise DataError(
            f"{path} is damaged or cut short: {error}.", "Fetch or pack this file again."
        ) from error
