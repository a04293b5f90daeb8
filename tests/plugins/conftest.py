"""These networks are so small that a second thread only costs time; processes are forked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _forked(forked_resuming: None) -> None:
    """Rules resume with an interpreter of their own in tests/testing and once installed."""
