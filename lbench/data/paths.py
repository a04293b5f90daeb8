"""Paths that a user gives: an option or a variable of the environment."""

from __future__ import annotations

from pathlib import Path

from lbench.errors import UsageError


def expanded(path: Path | str, origin: str) -> Path:
    """Return ``path`` with a leading ``~`` replaced by the home of its user.

    Args:
        origin: where the path was given, such as ``"LBENCH_DATA"``.

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
