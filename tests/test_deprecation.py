"""Deprecated names warn, work as before, and cannot outlive the version that removes them."""

from __future__ import annotations

import warnings

import pytest

import lbench
from lbench.deprecation import deprecated


@deprecated(since="90.1", removal="90.3", instead="total")
def summed(*values: int) -> int:
    """Return the sum."""
    return sum(values)


@deprecated(since="90.1", removal="91.0", instead="Count")
class Counter:
    """A counter."""

    def __init__(self, start: int) -> None:
        self.value = start


class Steps(Counter):
    """A subclass that somebody else has written."""


def test_a_deprecated_function_works_and_warns_at_the_line_that_calls_it() -> None:
    with pytest.warns(FutureWarning, match=r"summed is deprecated since lbench 90\.1") as caught:
        assert summed(1, 2) == 3
    assert "removed in 90.3: use total." in str(caught[0].message)
    assert caught[0].filename == __file__
    assert (summed.__name__, summed.__doc__) == ("summed", "Return the sum.")


@pytest.mark.parametrize("cls", [Counter, Steps])
def test_a_deprecated_class_stays_a_class_and_warns_for_instances(cls: type[Counter]) -> None:
    with pytest.warns(FutureWarning, match="Counter is deprecated"):
        counter = cls(4)
    assert (counter.value, isinstance(counter, Counter)) == (4, True)


def test_importing_and_subclassing_a_deprecated_class_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class Further(Counter):
            pass

    assert issubclass(Further, Counter)


def test_a_name_works_for_two_minor_versions() -> None:
    with pytest.raises(ValueError, match="too early"):
        deprecated(since="90.1", removal="90.2", instead="total")


def test_a_name_cannot_outlive_the_version_that_had_to_remove_it() -> None:
    now = ".".join(lbench.__version__.split(".")[:2])
    with pytest.raises(ValueError, match=f"that {now} had to remove"):
        deprecated(since="0.-1", removal=now, instead="total")
