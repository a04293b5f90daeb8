"""mypy finds nothing in the code of lbench, of its plugins and of its benchmarks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.no_cover
def test_mypy_finds_nothing() -> None:
    """It takes half a minute on one core: as a test it runs beside others."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
