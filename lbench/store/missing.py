"""What a home lacks although its run directories are there, and the command that makes it again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lbench.errors import StoreError
from lbench.home import Home
from lbench.plurals import counted
from lbench.rundir import RunDir

WRITTEN = ("spec.json", "result.json", "metrics.jsonl")
"""Files of which a run has written one at least."""


def run_dirs(home: Home) -> Iterator[RunDir]:
    """Yield every directory that a run has written to, in the order of their names.

    What cannot be looked into is among them: reading it says why.

    Raises:
        OSError: the run directories cannot be listed.
    """
    for cell in _inside(home.runs):
        try:
            found = _inside(cell)
        except NotADirectoryError:
            continue
        except OSError:
            yield RunDir(cell)
            continue
        for path in found:
            if _written(path):
                yield RunDir(path)


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _written(path: Path) -> bool:
    try:
        names = {each.name for each in path.iterdir()}
    except NotADirectoryError:
        return False
    except OSError:
        return True
    return not names.isdisjoint(WRITTEN)


def check_store(home: Home) -> None:
    """Check that a home with run directories has a store.

    Raises:
        StoreError: it has none, or an empty file in its place.
    """
    if home.has_store():
        return
    if found := sum(1 for _ in run_dirs(home)):
        raise no_record(home, found)


def no_record(home: Home, found: int) -> StoreError:
    """The error for a store that knows none of the run directories that were found."""
    what = "knows none of them" if home.has_store() else "is not there"
    return StoreError(
        f"{home.runs} has {directories(found)}, but the store {home.store_file or ''} {what}.",
        f"Make its record from them with: lbench sync{home.option}",
    )


def unrecorded(home: Home, found: int) -> str:
    """The sentence for run directories that the record lacks."""
    return (
        f"The store lacks {directories(found)} of {home.runs}; add them with: "
        f"lbench sync{home.option}"
    )


def directories(number: int) -> str:
    """``1 run directory``, ``2 run directories``."""
    return counted(number, "run directory", "run directories")
