"""Reads archives once from beginning to end, with their check sums; unpacks nothing to disk."""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Container, Iterator
from pathlib import Path, PurePosixPath
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


def members(path: Path, names: Container[str] | None = None) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of the regular files in an archive, in order.

    The archive is a ``.zip``, ``.tar.xz``, ``.tar.gz`` or ``.tgz``.

    Args:
        path: the archive.
        names: names of the files to read, without folders; None for all.

    Raises:
        DataError: the archive is damaged or cut short; this is raised at its end at the latest.
    """
    try:
        yield from (zip_members if path.suffix == ".zip" else tar_members)(path, names)
    except DAMAGES as error:
        raise DataError(
            f"{path} is damaged or cut short: {error}.", "Fetch or pack this file again."
        ) from error
    except RuntimeError as error:  # a password, or an unknown compression
        raise DataError(
            f"{path} cannot be unpacked: {error}.", "Unpack it, or pack it without a password."
        ) from error


def tar_members(path: Path, names: Container[str] | None) -> Iterator[tuple[str, bytes]]:
    """Yield the files in a tar archive."""
    opener = lzma.open if path.suffix == ".xz" else gzip.open
    # tarfile's own "r|xz" would accept a compressed stream that is cut short.
    with cast("IO[bytes]", opener(path, "rb")) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                if not (member.isfile() and wanted(member.name, names)):
                    continue
                if (file := tar.extractfile(member)) is not None:
                    yield member.name, file.read()
        while stream.read(1 << 20):
            pass  # the check sum is behind the last member


def zip_members(path: Path, names: Container[str] | None) -> Iterator[tuple[str, bytes]]:
    """Yield the files in a zip archive; reading a file compares its check sum."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir() and wanted(member.filename, names):
                yield member.filename, archive.read(member)


def wanted(name: str, names: Container[str] | None) -> bool:
    """Return whether ``names`` has the last part of a member's name; True without ``names``."""
    return names is None or PurePosixPath(name).name in names
