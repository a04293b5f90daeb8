"""The training error is that of an evaluation which keeps the logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lbench.data.parts import parts
from lbench.training.evaluation import evaluate, training_error
from tests.training.helper import ask


@pytest.mark.parametrize("dataset", ["digits", "split-digits"])
def test_errors_and_losses_without_logits_are_those_with_them(dataset: str) -> None:
    resolved = ask("bp", dataset, network="mlp", network_options={"widths": "8"})
    rule = resolved.cell.build(0)
    data = parts(resolved.dataset, 0.1, standardize=False).training
    whole = evaluate(rule, data, "fp32")
    error, loss = training_error(rule, data, "fp32")
    assert error == whole.error
    assert np.isclose(loss, whole.loss)
    assert rule.training
    with torch.no_grad():
        next(rule.parameters()).fill_(torch.nan)
    assert not np.isfinite(training_error(rule, data, "fp32")[1])
