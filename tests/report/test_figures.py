from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lbench.errors import PluginError, UsageError
from lbench.hooks import FigureEntry
from lbench.registry import registry
from lbench.report.entries import draw
from lbench.report.figures.figure import COLOURS, LINES, Figure, look, panels, style
from lbench.report.figures.front import front
from lbench.report.figures.series import scale
from lbench.report.study import make_report
from lbench.report.study_page import inline
from lbench.studies.results import StudyData
from tests.report.studies import Trained, crowded, every_text_inside, with_errors


@pytest.fixture(autouse=True)
def styled() -> Iterator[None]:
    with style():
        yield


def only(results: StudyData, name: str) -> Any:
    (figure,) = draw(results, name)
    return figure


def axes(figure: Any) -> list[Any]:
    return [each for each in figure.picture.axes if each.get_visible()]


@pytest.mark.parametrize("name", registry().figures)
def test_a_figure_of_nothing_is_none(trained: Trained, name: str) -> None:
    results = replace(trained.grid, finals=[], searches=[], missing=())
    assert draw(results, f"{name}:x" if name in ("lines", "slice") else name) == []


def test_an_unknown_figure_names_the_nearest(trained: Trained) -> None:
    with pytest.raises(UsageError, match="Unknown figure 'curvs'") as error:
        draw(trained.grid, "curvs")
    assert "Did you mean curves?" in error.value.hint


@pytest.mark.parametrize(
    ("name", "study"),
    [("lines:nothing", "grid"), ("slice:nothing", "search"), ("pareto:x", "grid")],
)
def test_an_argument_that_does_not_fit_says_what_would(
    trained: Trained, name: str, study: str
) -> None:
    with pytest.raises(UsageError) as error:
        draw(getattr(trained, study), name)
    assert {"lines": "leadership", "slice": "lr", "pareto": "seconds"}[
        name.partition(":")[0]
    ] in error.value.hint


@pytest.mark.parametrize(
    ("name", "study"),
    [
        ("lines:leadership", "grid"), ("curves", "grid"), ("pareto:step_ms", "grid"),
        ("bars", "grid"), ("history", "search"), ("best_so_far", "search"), ("slice:lr", "search"),
        ("importance", "search"),
    ],
)  # fmt: skip
def test_axes_have_names_with_units_and_legends_cover_nothing(
    trained: Trained, name: str, study: str
) -> None:
    figure = only(getattr(trained, study), name)
    shown = axes(figure)
    assert shown
    assert any(each.get_ylabel() for each in shown) or name in ("bars", "importance")
    assert any("(" in each.get_xlabel() + each.get_ylabel() for each in shown)
    assert [each for each in shown if each.get_legend()] == []
    every_text_inside(figure)
    for legend in figure.picture.legends:
        box = legend.get_window_extent()
        for each in shown:
            assert not box.overlaps(each.get_tightbbox()), name


@pytest.mark.no_cover
@pytest.mark.parametrize("count", [1, 15, 40])
@pytest.mark.parametrize(
    ("name", "study"),
    [
        ("lines:leadership", "grid"), ("bars", "grid"), ("curves", "grid"),
        ("pareto:step_ms", "grid"), ("best_so_far", "search"),
    ],
)  # fmt: skip
def test_a_figure_of_many_cells_keeps_room_for_what_it_shows(
    trained: Trained, name: str, study: str, count: int
) -> None:
    if name.startswith("lines") and count == 1:
        pytest.skip("one cell has no setting")
    figure = only(crowded(getattr(trained, study), count), name)
    every_text_inside(figure)
    least = 1.5 if name != "bars" else 0.15 * count
    for each in axes(figure):
        box = each.get_window_extent()
        assert box.height / figure.picture.dpi >= least
        assert box.width / figure.picture.dpi >= 2
    for legend in figure.picture.legends:
        box = legend.get_window_extent()
        assert figure.picture.bbox.x0 <= box.x0 <= box.x1 <= figure.picture.bbox.x1
        assert figure.picture.bbox.y0 <= box.y0
        assert not any(box.overlaps(each.get_tightbbox()) for each in axes(figure))
    for each in axes(figure):
        names = [label.get_text() for label in each.get_yticklabels()]
        assert len(set(names)) == len(names)


def test_panels_with_long_names_have_titles_of_their_own(trained: Trained) -> None:
    figure = only(crowded(trained.search, 12), "history")
    titles = [each.get_title() for each in axes(figure)]
    assert len(set(titles)) == 12
    every_text_inside(figure)


def test_the_best_so_far_is_drawn_of_the_lowest_alone(trained: Trained) -> None:
    figure = only(crowded(trained.search, 40), "best_so_far")
    (panel,) = axes(figure)
    assert len(panel.lines) == LINES
    assert f"{40 - LINES} more are in the data" in figure.caption
    assert len({row["series"] for row in figure.data}) == 40


def test_a_line_has_its_mean_at_each_value_and_a_control_is_level(trained: Trained) -> None:
    errors = ([3.0, 3.2], [5.0, 5.2], [8.0, 8.2], [9.0, 9.2])
    figure = only(with_errors(trained.grid, errors), "lines:leadership")
    (panel,) = axes(figure)
    lines = {line.get_label(): line for line in panel.get_lines()}
    assert list(lines["lfnn_l"].get_xdata()) == [0.3, 0.9]
    assert list(lines["lfnn_l"].get_ydata()) == pytest.approx([5.1, 8.1])
    assert set(lines["bp"].get_ydata()) == {3.1}
    assert {row["test_error"] for row in figure.data} == {3.1, 5.1, 8.1, 9.1}


def test_published_numbers_are_open_markers_with_another_name(trained: Trained) -> None:
    finals = [replace(f, cell=replace(f.cell, dataset="mnist")) for f in trained.grid.finals]
    figure = only(replace(trained.grid, finals=finals), "lines:leadership")
    papers = [line for line in axes(figure)[0].get_lines() if "published" in line.get_label()]
    assert len(papers) == 2
    for line in papers:
        assert "other network" in line.get_label()
        assert line.get_linestyle() == "None"
        assert len(line.get_xdata()) == 10
    assert "published" in figure.caption


def test_bars_are_in_order_and_the_best_set_is_filled(trained: Trained) -> None:
    errors = ([5.0, 5.2, 5.1], [2.0, 2.1, 2.2], [2.1, 2.0, 2.2], [9.0, 9.2, 9.1])
    figure = only(with_errors(trained.grid, errors), "bars")
    assert [row["test_error"] for row in figure.data] == pytest.approx([2.1, 2.1, 5.1, 9.1])
    assert [row["best_set"] for row in figure.data] == [True, True, False, False]
    dots = [line for line in axes(figure)[0].get_lines() if line.get_marker() == "o"]
    assert [dot.get_markerfacecolor() == COLOURS[0] for dot in dots] == [True, True, False, False]


def test_curves_have_every_epoch_of_every_cell_in_their_data(trained: Trained) -> None:
    figure = only(trained.grid, "curves")
    assert {row["epoch"] for row in figure.data} == {1, 2}
    assert {row["series"] for row in figure.data} == {
        "bp", "lfnn_l leadership=0.3", "lfnn_l leadership=0.9",
    }  # fmt: skip
    for row in figure.data:
        assert row["train_loss_low"] <= row["train_loss"] <= row["train_loss_high"]
        assert row["seconds"] > 0


def test_a_history_shows_each_state_and_the_best_so_far_never_rises(trained: Trained) -> None:
    figure = only(trained.search, "history")
    lines = {line.get_label(): line for line in axes(figure)[0].get_lines()}
    assert {name: len(lines[name].get_xdata()) for name in ("complete", "pruned", "failed")} == {
        "complete": 4, "pruned": 2, "failed": 1,
    }  # fmt: skip
    best = list(lines["best so far"].get_ydata())
    assert best == sorted(best, reverse=True)
    assert [row["state"] for row in figure.data].count("pruned") == 2


def test_a_slice_marks_what_cannot_be_told_apart(trained: Trained) -> None:
    figure = only(trained.search, "slice:lr")
    marked = [row["trial"] for row in figure.data if row["indistinguishable"]]
    assert len(marked) == 2
    lines = {line.get_label(): line for line in axes(figure)[0].get_lines()}
    assert len(lines["indistinguishable from the best"].get_xdata()) == 2
    assert len(lines["best"].get_xdata()) == 1
    assert axes(figure)[0].get_xscale() == "log"


def test_two_objectives_have_a_front(trained: Trained) -> None:
    (search,) = trained.search.searches
    both = ("val_error", "step_ms")
    trials = [
        replace(t, values=(*t.values, 10.0 - t.number) if t.values else None) for t in search.trials
    ]
    known = [t for t in trials if t.values]
    changed = replace(search, objectives=both, trials=trials, front=known[:1])
    figure = only(replace(trained.search, searches=[changed]), "pareto")
    assert [row["front"] for row in figure.data].count(True) == 1
    assert axes(figure)[0].get_xlabel() == "a training step (ms)"


def test_a_front_has_no_point_that_another_is_better_than() -> None:
    points = [(1.0, 5.0), (2.0, 3.0), (3.0, 4.0), (4.0, 1.0), (4.0, 2.0)]
    assert front(points) == [(1.0, 5.0), (2.0, 3.0), (4.0, 1.0)]


@pytest.mark.parametrize(
    ("values", "numbers", "log"),
    [
        ([0.1, 0.5, 1.0], True, False),
        ([1, 10, 100], True, True),
        ([2, 4, 8, 16], True, True),
        ([0.1, 0.2, 0.3, 0.4, 0.5], True, False),
        ([0.0, 0.01, 100.0], False, False),
        ([0.0, 0.5, 1.0], True, False),
        (["adam", "sgd"], False, False),
        ([True, False], False, False),
        ([(256, 256), (64,)], False, False),
    ],
)
def test_values_that_span_decades_lie_on_a_logarithmic_axis(
    values: Sequence[Any], numbers: bool, log: bool
) -> None:
    found = scale(values)
    assert (found.numbers, found.log) == (numbers, log)
    places = [found.at(value) for value in found.values]
    assert places == sorted(set(places))


def test_neighbouring_series_differ_in_colour_line_and_marker() -> None:
    looks = [look(index) for index in range(21)]
    for name in ("color", "linestyle", "marker"):
        assert all(looks[i][name] != looks[i + 1][name] for i in range(20)), name
    assert len({(each["color"], str(each["linestyle"]), each["marker"]) for each in looks}) == 21


def test_a_picture_in_a_page_takes_the_pages_colours_and_ids_of_its_own() -> None:
    svg = (
        '<?xml version="1.0"?>\n<svg xmlns="http://x" xmlns:xlink="http://y" width="7pt" '
        'height="5pt"><metadata>http://z</metadata><path id="a" style="fill: #1a1a1b"/>'
        '<use xlink:href="#a" clip-path="url(#b)"/></svg>'
    )
    found = inline(svg, Figure("bars", 'All "cells"', "", panels(1)[0], []))
    assert "http" not in found
    assert 'id="bars-a"' in found
    assert 'href="#bars-a"' in found
    assert "url(#bars-b)" in found
    assert "currentColor" in found
    assert 'aria-label="All &quot;cells&quot;"' in found


def entry(monkeypatch: pytest.MonkeyPatch, returned: Any) -> None:
    """Let a plugin bring the figure ``mine``, whose function returns this or calls it."""
    module = types.ModuleType("figures_of_someone")
    module.draw = lambda *_: returned() if callable(returned) else returned  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "figures_of_someone", module)
    monkeypatch.setitem(
        registry().figures, "mine", FigureEntry("mine", "Mine", "figures_of_someone:draw")
    )
    monkeypatch.setitem(registry().owners, ("figures", "mine"), "someone")


def figure(name: str) -> Figure:
    picture, _ = panels(1)
    return Figure(name, "Mine", "A caption.", picture, [{"value": 1}])


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        (None, "returned None, not a list of Figure"),
        (["a"], "returned ['a'], not a list of Figure"),
        (lambda: [figure("../mine")], "the name '../mine', which no file can have"),
        (lambda: [figure("")], "the name '', which no file can have"),
    ],
)
def test_what_a_plugin_returns_is_checked(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, returned: Any, problem: str
) -> None:
    entry(monkeypatch, returned)
    with pytest.raises(PluginError, match="Figure 'mine' of plugin 'someone'") as error:
        draw(trained.grid, "mine")
    assert problem in error.value.message


def test_a_figure_whose_probe_nobody_brings_is_refused(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry(monkeypatch, [])
    unknown = FigureEntry("mine", "Mine", "figures_of_someone:draw", probe="lineer")
    monkeypatch.setitem(registry().figures, "mine", unknown)
    with pytest.raises(UsageError, match="Unknown probe 'lineer'"):
        draw(trained.grid, "mine")


def test_what_a_figure_prints_is_no_part_of_the_result(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry(monkeypatch, lambda: print("speaks") or [figure("mine")])
    assert [each.name for each in draw(trained.grid, "mine")] == ["mine"]
    assert "speaks" not in capsys.readouterr().out


def test_a_figure_that_ends_the_process_or_takes_a_name_is_left_out(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for returned, why in (
        (lambda: sys.exit(0), "SystemExit: 0"),
        (lambda: [figure("bars")], "another figure has the name bars"),
    ):
        entry(monkeypatch, returned)
        study = replace(trained.grid.study, figures=("bars", "mine"))
        report = make_report(replace(trained.grid, study=study), tmp_path, home=trained.home)
        assert report.left_out == {"mine": why}
