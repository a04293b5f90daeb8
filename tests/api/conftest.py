"""A home with a few short runs on digits, trained once per session."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from lbench.api.run_result import RunResult
from lbench.api.training import run


class Trained(NamedTuple):
    """A home and the results of its runs."""

    home: Path
    bp: RunResult
    lfnn: RunResult


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    home = tmp_path_factory.mktemp("api")
    common = {"epochs": 2, "home": home, "threads": 1, "progress": False}
    bp = run("bp", "digits", seeds=2, **common)
    lfnn = run("lfnn_l", "digits", seeds=2, leadership=0.5, lr=0.002, probes=["leaders"], **common)
    return Trained(home, bp, lfnn)
