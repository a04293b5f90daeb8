"""Verified downloads by torchvision, for data that is not on the disk."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lbench.data.dataset import MissingDataError
from lbench.data.lock import locked
from lbench.data.progress import tell

TIMEOUT = 20.0
"""Seconds to wait for an answer from the network."""


def download(
    name: str,
    downloads: Callable[[], Sequence[Mapping[str, Any]]],
    directory: Path,
    missing: MissingDataError,
) -> None:
    """Download ``torchvision.datasets.<name>`` into ``directory``, with progress on standard error.

    Args:
        name: the name of the class.
        downloads: returns the arguments of each download that ``directory`` lacks.
        directory: the directory; it is created if needed.
        missing: the error of the search for the data; its message and hint are repeated.

    Raises:
        MissingDataError: torchvision is not installed, or the network or the disk fails.
    """
    try:
        from lbench.data import _torchvision

        dataset = getattr(_torchvision.load("datasets"), name)
    except ImportError as error:
        raise MissingDataError(
            f"{missing.message}\nIt cannot be downloaded: torchvision is not installed.",
            f"{missing.hint} Or: pip install torchvision.",
        ) from error
    # Files appear in ``directory`` only when all of them are complete and verified.
    part = directory.with_name(f"{directory.name}.part")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with locked(part.with_suffix(".lock"), f"it downloads {name} into {directory}"):
            # Another process may have downloaded it while this one waited.
            if not (needed := downloads()):
                return
            tell(f"downloading {name} into {directory}")
            with contextlib.redirect_stdout(sys.stderr), timeout(TIMEOUT):
                for arguments in needed:
                    dataset(root=str(part), download=True, **arguments)
            for path in part.iterdir():
                path.replace(directory / path.name)
            part.rmdir()
    except (OSError, RuntimeError, EOFError) as error:
        raise MissingDataError(
            f"{missing.message}\nThe download of {name} failed: {error}",
            f"Without a network: {missing.hint}",
        ) from error


@contextlib.contextmanager
def timeout(seconds: float) -> Iterator[None]:
    """Set the timeout of new sockets within the context; torchvision has no such argument."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
