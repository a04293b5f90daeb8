"""What a home holds, as data frames; configurations side by side; listings."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbench.api.comparison import compare
from lbench.api.listing import datasets, rules
from lbench.api.results import results
from lbench.errors import UsageError
from tests.api.conftest import Trained


def test_cells_and_runs_have_the_numbers_of_the_results(trained: Trained) -> None:
    found = results(trained.home)
    assert len(found) == len(found.cells) == 2
    row = found.cells.set_index("cell").loc[trained.bp.cell]
    assert trained.bp.test_error is not None
    assert row["test_error"] == pytest.approx(trained.bp.test_error.mean)
    assert row["test_error_low"] == pytest.approx(trained.bp.test_error.low)
    assert row["params_inf"] == 87_370
    runs = found.runs
    assert len(runs) == 4
    mean = runs[runs["rule"] == "bp"]["test_error"].mean()
    assert mean == pytest.approx(trained.bp.test_error.mean)


def test_epochs_and_probes_name_configuration_and_seed(trained: Trained) -> None:
    found = results(trained.home)
    assert found.epochs.groupby(["cell", "seed"]).size().tolist() == [2, 2, 2, 2]
    leaders = found.probe("leaders")
    assert set(leaders["cell"]) == {trained.lfnn.cell}
    assert set(leaders["seed"]) == {0, 1}
    with pytest.raises(UsageError, match="has the probe linear"):
        found.probe("linear")


def test_a_home_is_shown_as_a_table_and_a_plot(trained: Trained) -> None:
    found = results(trained.home)
    assert trained.bp.cell in str(found.table())
    assert trained.bp.cell in found._repr_html_()
    (axes,) = found.plot().axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(found.cells["cell"])


def test_an_empty_home_has_empty_frames(tmp_path: Path) -> None:
    found = results(tmp_path / "nothing")
    assert len(found) == 0
    assert found.cells.empty
    assert found.runs.empty
    assert found.epochs.empty
    with pytest.raises(UsageError, match="no finished run"):
        found.plot()


def test_results_are_compared_with_the_first(trained: Trained) -> None:
    found = compare(trained.bp, trained.lfnn, home=trained.home)
    by_id = compare("bp/", "lfnn_l/", home=trained.home)
    assert found.content == by_id.content
    assert found.content["differences"][0]["minus"] == trained.bp.cell
    frame = found.frame()
    assert frame["test_error.mean"].notna().all()
    assert "2 minus 1" in str(found.differences())
    assert "UNEQUAL" not in str(found.table())
    assert len(found.plot().axes) == 1
    assert found._repr_html_().count("<table>") == 2


def test_nothing_is_not_compared(trained: Trained) -> None:
    with pytest.raises(UsageError, match="needs a configuration"):
        compare(home=trained.home)
    with pytest.raises(UsageError, match="given twice"):
        compare("bp/", "bp/", home=trained.home)


def test_listings_are_iterated_by_name() -> None:
    found = rules()
    assert "lfnn_l" in found
    assert "no_such_rule" not in found
    assert len(list(found)) == len(found) == len(found.frame())
    assert found["bp"]["plugin"] == "bp"
    assert "lfnn_l" in str(found.table())
    assert "lfnn_l" in found._repr_html_()
    assert "digits" in datasets()
    with pytest.raises(KeyError):
        datasets()["no_such_data"]
