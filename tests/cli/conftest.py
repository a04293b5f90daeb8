"""A file for a plugin, as ``--plugin`` takes it."""

from __future__ import annotations

import copy
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbench.registry import registry


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file for a plugin, which is forgotten afterwards."""
    known = registry()
    for each in dataclasses.fields(known):
        monkeypatch.setattr(known, each.name, copy.copy(getattr(known, each.name)))
    yield tmp_path / "plugin_faulty.py"
    sys.modules.pop("plugin_faulty", None)
