"""Fixtures for tests of audits: fixed random numbers, and a batch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.auditing.snippets.step import CLASSES, INPUTS, ROWS, Batch


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def batch() -> Batch:
    return torch.randn(ROWS, INPUTS), torch.arange(ROWS) % CLASSES
