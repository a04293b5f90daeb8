"""The installed studies, one TOML file per question."""

from __future__ import annotations

import tomllib
from pathlib import Path

from lbench.hooks import StudyEntry, hookimpl

API = 1


@hookimpl
def lbench_studies() -> list[StudyEntry]:
    """Return an entry for each TOML file of this package."""
    return [
        StudyEntry(path.stem, tomllib.loads(path.read_text(encoding="utf-8"))["title"], path)
        for path in sorted(Path(__file__).parent.glob("*.toml"))
    ]
