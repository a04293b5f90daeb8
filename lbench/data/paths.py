"""Paths that a user gives, and files that cannot be read."""

from __future__ import annotations

from pathlib import Path

from lbench.errors import DataError, UsageError


def expanded(path: Path | str, origin: str) -> Path:
    """Return ``path`` with a leading ``~`` or ``~user`` replaced by that user's home directory.

    Args:
        origin: option or variable that gave the path, such as ``"LBENCH_DATA"``.

    Raises:
        UsageError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"The path {str(path)!r} of {origin} begins with the home of a user who is not known.",
            "Give the path in full.",
        ) from error


def absolute(path: Path) -> Path:
    """Return a path that names the same directory in any working directory.

    Links are kept, because the name of a directory may be its dataset's title. Only a path with
    ``..`` is resolved, so that the same data has one path.
    """
    return path.resolve() if ".." in path.parts else Path.cwd() / path


def read(path: Path | str) -> bytes:
    """Return the content of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise unreadable(error, path) from error


def unreadable(error: OSError, where: Path | str) -> DataError:
    """Return the error for a file that the system does not let lbench read.

    Args:
        error: raised by the system.
        where: the path for the message where ``error`` has none.
    """
    return DataError(
        f"{error.filename or where} cannot be read: {error.strerror or error}.",
        "Check that it is there and that you may read it.",
    )
