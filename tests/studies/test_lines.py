"""The line of a part of a TOML file is found whichever way the part is written."""

from __future__ import annotations

import pytest

from lbench.studies.lines import line_of

TEXT = '''\
title = "a = 1"
question = """
seeds = 7
[search]
"""
seeds = 2

[set]
"net.widths" = [20, 20]
search.depth = 3

[[arms]]
rule = "bp"

[[arms]]
rule = "lfnn_l"
set = { lam = 1.0, leadership = 0.3 }

[arms.axes]
leadership = [
  0.1,
  0.2,
]

[search.space]
lr = { low = 0.1, high = 1.0 }
'''


@pytest.mark.parametrize(
    ("location", "line"),
    [
        (("title",), 1),
        (("seeds",), 6),
        (("set", "net.widths"), 9),
        (("set", "search", "depth"), 10),
        (("arms", 0, "rule"), 13),
        (("arms", 1, "rule"), 16),
        (("arms", 1, "set", "lam"), 17),
        (("arms", 1, "axes", "leadership", 1), 20),
        (("search", "space", "lr", "low"), 26),
        (("search", "trials"), None),
        (("arms", 0, "nothing"), 12),
        (("nothing",), None),
    ],
)
def test_the_line_of_a_location_is_found(location: tuple[str | int, ...], line: int | None) -> None:
    assert line_of(TEXT, location) == line
