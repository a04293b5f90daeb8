"""Short runs with stored results, which change only together with ``SEMANTICS``.

When one fails because of an intended change, increase ``lbench.training.cell.SEMANTICS`` and
write the new numbers here: all fingerprints then change, so that no older run is reused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lbench.training.cell import SEMANTICS
from tests.training.helper import ask, epoch_log, run

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
def test_short_runs_give_the_stored_numbers(name: str, tmp_path: Path) -> None:
    assert SEMANTICS == 1
    changes, losses = GOLDEN[name]
    outcome = run(tmp_path, ask(name.split()[0], **changes))[0]
    measured = [row["train_loss"] for row in epoch_log(outcome.run_dir)]
    # The tolerance allows for the rounding of other processors, not for other algorithms.
    assert measured == pytest.approx(losses, rel=2e-4)
