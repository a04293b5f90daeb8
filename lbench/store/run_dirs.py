"""The run directories of a home, and messages for a store that lacks them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lbench.errors import StoreError
from lbench.home import Home
from lbench.plurals import counted
from lbench.rundir import RunDir

WRITTEN = ("spec.json", "result.json", "metrics.jsonl")
"""Files of which each run has written at least one."""


def run_dirs(home: Home) -> Iterator[RunDir]:
    """Yield every directory that a run has written to, in the order of their names.

    A directory that cannot be listed is among them: reading it reports why.

    Raises:
        OSError: the run directories cannot be listed.
    """
    for cell in _inside(home.runs):
        try:
            paths = _inside(cell)
        except NotADirectoryError:
            continue
        except OSError:
            yield RunDir(cell)
            continue
        for path in paths:
            if _has_run(path):
                yield RunDir(path)


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _has_run(path: Path) -> bool:
    try:
        names = {file.name for file in path.iterdir()}
    except NotADirectoryError:
        return False
    except OSError:
        return True
    return not names.isdisjoint(WRITTEN)


def check_store(home: Home) -> None:
    """Check that a home with run directories has a store.

    Raises:
        StoreError: it has no store, or only an empty file.
    """
    if home.has_store():
        return
    if count := sum(1 for _ in run_dirs(home)):
        raise no_record(home, count)


def no_record(home: Home, count: int) -> StoreError:
    """Return the error for a store that has none of the ``count`` run directories."""
    problem = "knows none of them" if home.has_store() else "is missing"
    return StoreError(
        f"{home.runs} has {directories(count)}, but the store {home.store_file or ''} {problem}.",
        f"Rebuild its record from them with: lbench sync{home.option}",
    )


def unrecorded(home: Home, count: int) -> str:
    """Return the sentence for ``count`` run directories that the record lacks."""
    return (
        f"The store lacks {directories(count)} of {home.runs}; add them with: "
        f"lbench sync{home.option}"
    )


def directories(number: int) -> str:
    """Return ``1 run directory``, ``2 run directories`` and so on."""
    return counted(number, "run directory", "run directories")
