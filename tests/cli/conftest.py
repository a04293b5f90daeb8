"""The path of a plugin file for ``--plugin``."""

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
    """Yield the path of a plugin file; the registry forgets the plugin after the test."""
    known = registry()
    for field in dataclasses.fields(known):
        monkeypatch.setattr(known, field.name, copy.copy(getattr(known, field.name)))
    yield tmp_path / "plugin_faulty.py"
    sys.modules.pop("plugin_faulty", None)
