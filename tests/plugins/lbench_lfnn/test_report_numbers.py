"""Numbers about leaders and followers, worked out from tables that are written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lbench_lfnn.report.activity import moves
from lbench_lfnn.report.leaders import entropy, held, jaccard, most, over_epochs


def test_leadership_that_stays_is_frozen_and_that_which_turns_is_not() -> None:
    columns: dict[str, list[Any]] = {"block": [], "label": [], "epoch": [], "leads": []}
    for epoch, leads in ((1, [1, 1, 0, 0]), (2, [1, 1, 0, 0]), (3, [0, 0, 1, 1])):
        for name, value in (("block", 0), ("label", None), ("epoch", epoch), ("leads", leads)):
            columns[name].append(value)
    found = over_epochs(columns)[0]
    assert "jaccard" not in found[1]
    assert (found[2]["jaccard"], found[3]["jaccard"]) == (1.0, 0.0)
    assert found[1]["held"] == 1.0
    assert found[1]["entropy"] == pytest.approx(0.5)


def test_entropy_is_one_where_all_lead_alike_and_zero_where_one_does() -> None:
    assert entropy(np.full(8, 0.25)) == pytest.approx(1)
    assert entropy(np.array([1.0, 0, 0, 0])) == 0
    assert most(np.array([0.2, 0.9, 0.9, 0.0])) == {1, 2}
    assert held(np.array([0.2, 0.9, 0.9, 0.0])) == pytest.approx(0.9)
    assert jaccard({1, 2}, {2, 3}) == pytest.approx(1 / 3)


def test_leaders_and_followers_are_weighed_by_how_much_they_led() -> None:
    columns = {
        "step": [1, 2],
        "label": [0, 0],
        "change": [[0.4, -0.2, 0.1], [0.3, 0.3, 0.3]],
        "leads": [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]],
    }
    found = moves(columns)
    assert found.leaders == pytest.approx([0.4, 0.3])
    assert found.followers[0] == pytest.approx(0.15)
    assert np.isnan(found.followers[1])
    assert found.order == pytest.approx([0.3 / 0.7, 1.0])


def test_predictions_of_all_classes_have_no_order() -> None:
    columns = {"step": [1], "label": [None], "change": [[0.4, 0.2]], "leads": [[1.0, 0.0]]}
    assert moves(columns).order is None
