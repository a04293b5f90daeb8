"""Tests of lbench.results, lbench.compare and the listings."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbench.api.comparison import compare
from lbench.api.listing import datasets, rules
from lbench.api.results import results
from lbench.errors import UsageError
from tests.api.conftest import Trained


def test_the_frames_cells_and_runs_have_the_numbers_of_the_results(trained: Trained) -> None:
    frames = results(trained.home)
    assert len(frames) == len(frames.cells) == 2
    row = frames.cells.set_index("cell").loc[trained.bp.cell]
    assert trained.bp.test_error is not None
    assert row["test_error"] == pytest.approx(trained.bp.test_error.mean)
    assert row["test_error_low"] == pytest.approx(trained.bp.test_error.low)
    assert row["params_inf"] == 87_370
    assert list(frames.cells["per_block"]) == ["", "workers 26; leaders 13"]
    runs = frames.runs
    assert len(runs) == 4
    mean = runs[runs["rule"] == "bp"]["test_error"].mean()
    assert mean == pytest.approx(trained.bp.test_error.mean)


def test_the_frames_of_epochs_and_probes_have_configuration_and_seed(trained: Trained) -> None:
    frames = results(trained.home)
    assert frames.epochs.groupby(["cell", "seed"]).size().tolist() == [2, 2, 2, 2]
    leaders = frames.probe("leaders")
    assert set(leaders["cell"]) == {trained.lfnn.cell}
    assert set(leaders["seed"]) == {0, 1}
    with pytest.raises(UsageError, match="has the probe linear"):
        frames.probe("linear")


def test_a_home_is_shown_as_a_table_and_a_plot(trained: Trained) -> None:
    frames = results(trained.home)
    assert trained.bp.cell in str(frames.table())
    assert trained.bp.cell in frames._repr_html_()
    (axes,) = frames.plot().axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(frames.cells["cell"])


def test_an_empty_home_has_empty_frames(tmp_path: Path) -> None:
    frames = results(tmp_path / "nothing")
    assert len(frames) == 0
    assert frames.cells.empty
    assert frames.runs.empty
    assert frames.epochs.empty
    with pytest.raises(UsageError, match="no finished run"):
        frames.plot()


def test_results_are_compared_with_the_first(trained: Trained) -> None:
    comparison = compare(trained.bp, trained.lfnn, home=trained.home)
    by_id = compare("bp/", "lfnn_l/", home=trained.home)
    assert comparison.content == by_id.content
    assert comparison.content["differences"][0]["minus"] == trained.bp.cell
    numbers = [cell["per_block"] for cell in comparison.content["cells"]]
    assert numbers == [{}, {"workers": [26, 26], "leaders": [13, 13]}]
    frame = comparison.frame()
    assert frame["test_error.mean"].notna().all()
    assert "2 minus 1" in str(comparison.differences())
    assert "UNEQUAL" not in str(comparison.table())
    assert len(comparison.plot().axes) == 1
    assert comparison._repr_html_().count("<table>") == 2


def test_no_configuration_and_a_repeated_one_are_errors(trained: Trained) -> None:
    with pytest.raises(UsageError, match="needs a configuration"):
        compare(home=trained.home)
    with pytest.raises(UsageError, match="given twice"):
        compare("bp/", "bp/", home=trained.home)


def test_listings_are_iterated_by_name() -> None:
    listing = rules()
    assert "lfnn_l" in listing
    assert "no_such_rule" not in listing
    assert len(list(listing)) == len(listing) == len(listing.frame())
    assert listing["bp"]["plugin"] == "bp"
    assert "lfnn_l" in str(listing.table())
    assert "lfnn_l" in listing._repr_html_()
    assert "digits" in datasets()
    with pytest.raises(KeyError):
        datasets()["no_such_data"]
