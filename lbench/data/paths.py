"""Paths that a user gives with an option or an environment variable."""

from __future__ import annotations

from pathlib import Path

from lbench.errors import UsageError


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
