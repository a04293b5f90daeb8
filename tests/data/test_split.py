"""The validation split is stratified and depends on the data alone."""

from __future__ import annotations

import numpy as np
import pytest

from lbench.data.split import holdout
from lbench.errors import DataError, UsageError

LABELS = np.repeat(np.arange(5), [100, 40, 7, 2, 1]).astype(np.int64)


def test_holdout_is_stratified_and_complete() -> None:
    train, val = holdout(LABELS, 0.1, "abc")
    assert train.dtype == val.dtype == np.int64
    assert (np.diff(train) > 0).all()
    assert (np.diff(val) > 0).all()
    assert sorted([*train, *val]) == list(range(len(LABELS)))
    assert np.bincount(LABELS[val], minlength=5).tolist() == [10, 4, 1, 1, 0]


def test_holdout_depends_on_the_digest_and_nothing_else() -> None:
    first, again, other = (holdout(LABELS, 0.1, d)[1].tolist() for d in ("abc", "abc", "abd"))
    assert first == again != other
    # Fixed values: a NumPy that draws other numbers would change every run.
    assert first == [3, 21, 23, 55, 58, 73, 76, 81, 91, 93, 112, 122, 125, 128, 141, 147]


def test_a_fraction_of_zero_holds_out_nothing() -> None:
    train, val = holdout(LABELS, 0, "abc")
    assert len(train) == len(LABELS)
    assert val.shape == (0,)


def test_an_empty_validation_split_is_refused() -> None:
    with pytest.raises(DataError, match="validation split is empty") as caught:
        holdout(np.arange(4), 0.1, "abc")
    assert "--protocol paper" in caught.value.hint
    assert len(holdout(np.arange(4), 0, "abc")[0]) == 4


@pytest.mark.parametrize("fraction", [-0.1, 1, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match=str(fraction)):
        holdout(LABELS, fraction, "abc")
