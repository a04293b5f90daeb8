from __future__ import annotations

import multiprocessing

import pytest

from lbench.execute import pool as pools


@pytest.fixture
def interpreters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start workers as spawned interpreters, as for users."""
    monkeypatch.setattr(pools, "CONTEXT", multiprocessing.get_context("spawn"))
