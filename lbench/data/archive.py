"""Reads archives once from beginning to end, with their check sums; unpacks nothing to disk."""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from lbench.errors import DataError

DAMAGES = (
    EOFError,
    lzma.LZMAError,
    zlib.error,
    gzip.BadGzipFile,
    tarfile.TarError,
    zipfile.BadZipFile,
)


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of the regular files in an archive, in order.

    The archive is a ``.zip``, ``.tar.xz``, ``.tar.gz`` or ``.tgz``.

    Raises:
        DataError: the archive is damaged or cut short; this is raised at its end at the latest.
    """
    try:
        yield from zip_members(path) if path.suffix == ".zip" else tar_members(path)
    except DAMAGES as error:
        raise DataError(
            f"{path} is damaged or cut short: {error}.", "Fetch or pack this file again."
        ) from error


def tar_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the files in a tar archive."""
    opener = lzma.open if path.suffix == ".xz" else gzip.open
    # tarfile's own "r|xz" would accept a compressed stream that is cut short.
    with cast("IO[bytes]", opener(path, "rb")) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                if member.isfile() and (file := tar.extractfile(member)) is not None:
                    yield member.name, file.read()
        while stream.read(1 << 20):
            pass  # the check sum is behind the last member


def zip_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the files in a zip archive; reading a file compares its check sum."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                yield member.filename, archive.read(member)
