"""Finds a study: an installed one by its name, or a user's own file."""

from __future__ import annotations

from pathlib import Path

from lbench.errors import UsageError
from lbench.registry import Registry
from lbench.study.definition import Study
from lbench.study.read import read_study


def find(name: str, registry: Registry) -> Study:
    """The study of that name, or in that TOML file.

    Raises:
        UsageError: there is no such study or file, or the file does not fit.
    """
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"There is no study file {name}.", "List studies with: lbench studies")
        if path.stem in (".", ".."):
            # A study's folder has the name of its file.
            raise UsageError(f"{name!r} is no name for a study's file.", "Call it mine.toml.")
        return read_study(path)
    entry = registry.find("studies", name)
    return read_study(entry.path, entry.name)
