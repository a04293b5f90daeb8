"""The audit's steps have positions at which late behaviour shows."""

from __future__ import annotations

import pytest

from lbench.auditing.schedule import position


def test_the_first_steps_are_in_two_epochs_at_their_ends_and_within() -> None:
    positions = [position(number) for number in range(3)]
    assert {(p.epoch > 0, p.last) for p in positions} >= {
        (False, True),
        (True, False),
    }
    assert (True, True) in {(p.epoch > 0, p.last) for p in positions}


@pytest.mark.parametrize("period", [2, 5, 10, 25, 50])
def test_the_first_steps_have_both_usual_residues_of_a_period(period: int) -> None:
    indices = [position(number).index for number in range(3)]
    assert {0, period - 1} <= {index % period for index in indices}
    assert any(index % period == 0 for index in indices if index)


def test_steps_and_epochs_never_decrease() -> None:
    positions = [position(number) for number in range(9)]
    assert [p.index for p in positions] == sorted({p.index for p in positions})
    assert [p.epoch for p in positions] == sorted(p.epoch for p in positions)
