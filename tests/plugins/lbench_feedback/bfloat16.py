"""A step under bfloat16 autocast."""

from __future__ import annotations

from typing import Any

import torch

from tests.plugins import small


def assert_a_step_is_near_float32(rule: Any) -> None:
    """Assert that gradients are float32 and within a tenth of those without autocast."""
    rule, batch = rule.float(), small.batch_of(64)
    batch.x = batch.x.float()
    exact = small.gradients(rule, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = small.gradients(rule, batch)
    for name, grad in exact.items():
        assert rough[name].dtype == torch.float32
        assert (rough[name] - grad).norm() < 0.1 * grad.norm() + 1e-3
