from __future__ import annotations

import pytest

from lbench.plurals import counted


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1200, "1,200 files")]
)
def test_a_number_has_its_noun(number: int, shown: str) -> None:
    assert counted(number, "file") == shown


def test_a_noun_may_have_a_plural_of_its_own() -> None:
    assert [counted(n, "run directory", "run directories") for n in (1, 2)] == [
        "1 run directory",
        "2 run directories",
    ]
