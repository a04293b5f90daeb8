"""Short runs whose numbers are kept: they change only together with ``SEMANTICS``.

When one fails and the change was meant, raise ``lbench.run.cell.SEMANTICS`` and write the new
numbers here: the fingerprints of all users' runs then change, and nothing old is reused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lbench.run.cell import SEMANTICS
from tests.run.helper import ask, journal, run

GOLDEN: dict[str, tuple[dict[str, Any], list[float]]] = {
    "bp plain": ({}, [1.50092, 0.260019]),
    "bp sgd cosine dropout": (
        {"recipe": {"optimizer": "sgd", "lr": 0.1, "schedule": "cosine", "dropout": 0.2}},
        [1.516372, 0.34761],
    ),
    "bp cnn crop": (
        {
            "network": "cnn",
            "network_options": {"widths": "20,20"},
            "augmentation": "crop1,flip",
            "examples": 3200,
        },
        [2.291484, 2.039308, 1.967368],
    ),
    "lfnn plain": ({"recipe": {"lr": 0.02}}, [2.017171, 0.372564]),
    "lfnn_l plain": ({"recipe": {"lr": 0.02}}, [2.047645, 0.442565]),
    "lfnn_l example": (
        {"config": {"selection": "example"}, "recipe": {"lr": 0.02}},
        [1.968208, 0.406469],
    ),
    "lfnn_l cnn paper": (
        {
            "network": "cnn",
            "network_options": {"widths": "20,20"},
            "protocol": "paper",
            "examples": 3200,
        },
        [2.368439, 2.250763, 2.221386],
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_short_runs_give_the_numbers_of_these_semantics(name: str, tmp_path: Path) -> None:
    assert SEMANTICS == 1
    changes, losses = GOLDEN[name]
    outcome = run(tmp_path, ask(name.split()[0], **changes))[0]
    measured = [row["train_loss"] for row in journal(outcome.run_dir)]
    # Another processor rounds otherwise; another algorithm is farther off than this.
    assert measured == pytest.approx(losses, rel=2e-4)
