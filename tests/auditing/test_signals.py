"""The signals of a step: gradients, and changes with their rounding errors."""

from __future__ import annotations

import torch

from lbench.auditing.subject import Signals

EPS = torch.finfo(torch.float64).eps


def test_a_gradient_is_stored_unchanged() -> None:
    signals, grad = Signals(), torch.ones(3, dtype=torch.float64)
    signals.add("w", grad)
    grad.zero_()
    assert torch.equal(signals["w"][0], torch.ones(3, dtype=torch.float64))
    assert signals.rounding == {}


def test_the_rounding_of_a_small_change_is_within_its_allowance() -> None:
    generator = torch.Generator().manual_seed(0)
    for rate in (1e-2, 1e-6, 1e-10, 1e-14):
        weight = torch.randn(40, 30, generator=generator, dtype=torch.float64)
        step = rate * torch.randn(40, 30, generator=generator, dtype=torch.float64)
        signals = Signals()
        signals.add_change("w", weight, weight - step)
        error = float((signals["w"][0] - step).norm())
        assert 0 < error <= signals.rounding["w"]
        assert signals.rounding["w"] <= 2.1 * EPS * float(weight.norm()) + 2 * EPS * rate * 40


def test_the_allowances_of_several_changes_add_up() -> None:
    signals = Signals()
    before = torch.full((4,), 3.0, dtype=torch.float64)
    after = torch.zeros(4, dtype=torch.float64)
    signals.add_change("w", before, after)
    signals.add_change("w", after, before)
    assert signals.rounding["w"] == 2 * EPS * 6.0
    assert [float(signal[0]) for signal in signals["w"]] == [3.0, -3.0]
