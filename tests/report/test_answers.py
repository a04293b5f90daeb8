from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from lbench.errors import UsageError
from lbench.registry import registry
from lbench.report.answers.answer import capital, joined
from lbench.report.answers.series import axes
from lbench.report.entries import answer
from lbench.report.verdict import SET
from lbench.studies.definition import Arm, Point
from lbench.studies.lookup import find_study
from lbench.studies.results import Final, StudyData
from tests.report.studies import Trained, with_errors

CLEAR = ([2.0, 2.1, 1.9, 2.0], [5.0, 5.2, 4.9, 5.1], [8.0, 8.1, 7.9, 8.2], [9.0, 9.2, 9.1, 9.0])
SAME = ([2.0, 2.1, 1.9, 2.0], [2.1, 2.0, 1.95, 2.02], [2.05, 2.1, 1.9, 1.98], [2.0, 2.08, 1.9, 2])
NOISY = ([2.0, 4.1, 1.9, 3.0], [2.9, 2.2, 3.9, 2.1], [1.9, 3.1, 3.9, 2.2], [3.0, 3.2, 3.1, 1.0])


def ask(results: StudyData, analysis: str, **changes: Any) -> Any:
    study = replace(results.study, analysis=analysis, **changes)
    return answer(replace(results, study=study))


def along(
    results: StudyData, values: Sequence[Any], errors: Sequence[Sequence[float]]
) -> StudyData:
    """One rule at these leaderships, with these errors."""
    first = results.finals[1]
    finals = [_at(first, value) for value in values]
    return with_errors(replace(results, finals=finals), errors)


def _at(final: Final, value: Any, name: str = "leadership") -> Final:
    point = final.point
    settings = {**point.settings, name: value}
    return replace(
        final, point=replace(point, values={**point.values, name: value}, settings=settings)
    )


@pytest.mark.parametrize("name", registry().analyses)
def test_every_answer_is_undecided_without_a_finished_run(trained: Trained, name: str) -> None:
    results = replace(trained.grid, finals=[], searches=[])
    found = ask(results, name)
    assert found.sentence.startswith("Undecided: ")
    assert found.sentence.endswith(".")


@pytest.mark.parametrize("name", registry().analyses)
def test_every_answer_can_be_written_as_json(trained: Trained, name: str) -> None:
    import json

    for results in (trained.grid, trained.search):
        found = ask(results, name)
        assert json.loads(json.dumps(found.as_dict()))["sentence"] == found.sentence
        assert found.sentence.endswith((".", ".)"))


def test_an_unknown_analysis_names_the_nearest(trained: Trained) -> None:
    with pytest.raises(UsageError, match="Unknown analysis 'bets'") as error:
        ask(trained.grid, "bets")
    assert "Did you mean best?" in error.value.hint


def test_the_best_is_named_with_its_interval_and_its_seeds(trained: Trained) -> None:
    found = ask(with_errors(trained.grid, CLEAR), "best")
    assert found.sentence == (
        "On Digits (8x8), mlp the lowest test error is that of bp (2.00 % [1.74, 2.26], "
        "4 of 4 seeds), lower than that of each other configuration."
    )


def test_no_test_is_named_where_one_cell_alone_has_finished(trained: Trained) -> None:
    first, *others = with_errors(trained.grid, CLEAR).finals
    empty = [replace(final, runs=[]) for final in others]
    found = ask(replace(trained.grid, finals=[first, *empty]), "best")
    (detail,) = found.details
    assert "nothing was compared" in detail
    assert found.data["groups"][0]["method"] == ""
    found = ask(replace(trained.grid, finals=[first, others[0], *empty[1:]]), "best")
    (detail,) = found.details
    assert "1 of 2 configurations with finished runs (paired t tests" in detail


def test_what_cannot_be_told_apart_is_in_the_best_set(trained: Trained) -> None:
    found = ask(with_errors(trained.grid, NOISY), "best")
    assert "indistinguishable from it" in found.sentence
    assert len(found.data["groups"][0]["best"]) == 4


def test_a_setting_whose_curve_falls_has_its_best_set_at_its_end(trained: Trained) -> None:
    results = along(trained.grid, (0.1, 0.5, 0.9), CLEAR[2::-1])
    found = ask(results, "grid")
    assert "the lowest test error is 2.00 %" in found.sentence
    assert "indistinguishable from it: 0.9" in found.sentence
    assert found.data["series"][0]["best_set"] == ["0.9"]


@pytest.mark.parametrize(
    ("margin", "words"),
    [(0.5, "all within 0.5 points"), (None, "whether it matters is undecided")],
)
def test_a_flat_curve_is_equal_only_within_a_margin(
    trained: Trained, margin: float | None, words: str
) -> None:
    found = ask(along(trained.grid, (0.1, 0.5, 0.9), SAME[:3]), "grid", margin=margin)
    assert words in found.sentence


def test_the_papers_curve_is_compared_by_its_order(trained: Trained) -> None:
    errors = [[1.96], [1.67], [1.98], [1.49], [1.2]]
    results = along(trained.grid, (0.1, 0.2, 0.3, 0.4, 0.7), errors)
    cells = [replace(f, cell=replace(f.cell, dataset="mnist")) for f in results.finals]
    found = ask(replace(results, finals=cells), "grid")
    (small,) = [p for p in found.data["series"][0]["paper"] if "275K" in p["source"]]
    assert small["values"] == 5
    assert small["rank_correlation"] > 0.95
    assert any("Yin et al. 2023" in detail for detail in found.details)


def test_four_common_values_in_the_papers_order_are_two_orders_of_twenty_four(
    trained: Trained,
) -> None:
    # Published for 275K parameters: 1.96, 1.67, 1.98, 1.49.
    results = along(trained.grid, (0.1, 0.2, 0.3, 0.4), [[3.0], [2.0], [4.0], [1.0]])
    cells = [replace(f, cell=replace(f.cell, dataset="mnist")) for f in results.finals]
    found = ask(replace(results, finals=cells), "grid")
    (small,) = [p for p in found.data["series"][0]["paper"] if "275K" in p["source"]]
    assert (small["rank_correlation"], small["p"]) == pytest.approx((1.0, 2 / 24))


AXES = {
    "lambda": ["lam", "selection", "optimizer"],
    "leadership_grid": ["leadership"],
    "leadership_online": ["leadership", "net.workers"],
    "depth": ["net.depth"],
    "samples": ["batch", "labels"],
    "followers": ["leadership", "lam", "selection"],
    "convexity": ["selection", "leadership"],
    "forgetting": ["lr"],
    "alignment": [],
}


@pytest.mark.parametrize("name", AXES)
def test_an_installed_study_is_answered_about_the_axes_that_it_means(name: str) -> None:
    study = find_study(name, registry())
    points = [
        Point(index, arm.rule, "mnist", "mlp", dict(zip(arm.axes, values, strict=True)), {})
        for index, arm in enumerate(study.arms)
        for values in itertools.product(*arm.axes.values())
    ]
    assert axes(StudyData(study, (), (), points)) == AXES[name]


def test_a_partial_report_is_about_the_axis_of_the_complete_one(trained: Trained) -> None:
    arm = Arm("lfnn_l", axes={"lam": (0.1, 1.0), "leadership": (0.1, 0.5, 0.9)})
    finals = [
        _at(_at(trained.grid.finals[1], lead), lam, "lam")
        for lam in (0.1, 1.0)
        for lead in (0.1, 0.5, 0.9)
    ]
    study = replace(trained.grid.study, arms=(arm,))
    whole = with_errors(
        replace(trained.grid, study=study, finals=finals, missing=()), [[2.0, 2.1]] * 6
    )
    # Of lam = 1 nothing has been trained yet.
    part = replace(
        whole, finals=whole.finals[:3], missing=[final.point for final in whole.finals[3:]]
    )
    assert axes(part) == axes(whole) == ["lam", "leadership"]
    assert ask(part, "factor").sentence.startswith("Undecided")


@pytest.mark.parametrize(
    ("errors", "margin", "verdict"),
    [
        (CLEAR[:3], 0.5, "matters"),
        (SAME[:3], 0.5, "does not matter"),
        (SAME[:3], None, "undecided"),
        (NOISY[:3], 0.5, "undecided"),
    ],
)
def test_a_factor_matters_does_not_or_is_undecided(
    trained: Trained, errors: Any, margin: float | None, verdict: str
) -> None:
    found = ask(along(trained.grid, (0.1, 0.7, 0.9), errors), "factor", margin=margin)
    (series,) = found.data["series"]
    assert series["verdict"] == verdict
    # 0.7 is the default of lfnn_l.
    assert series["base"] == "0.7"
    assert verdict in found.sentence


def test_a_control_that_nobody_beats_is_said_so(trained: Trained) -> None:
    found = ask(with_errors(trained.grid, CLEAR), "followers")
    assert "none of 3 configurations has a lower error (3 higher)" in found.sentence


def test_cells_that_equal_the_control_within_the_margin_are_counted_as_equal(
    trained: Trained,
) -> None:
    found = ask(with_errors(trained.grid, SAME), "followers")
    assert "(3 equal)" in found.sentence
    assert {c["verdict"] for c in found.data["differences"]} == {"equal"}


def test_a_cell_that_beats_the_control_is_named(trained: Trained) -> None:
    errors = [CLEAR[1], CLEAR[0], CLEAR[2], CLEAR[3]]
    found = ask(with_errors(trained.grid, errors), "followers")
    assert "1 of 3 configurations have a lower error: lfnn_l leadership=0.3" in found.sentence


def test_an_axis_of_two_values_has_one_effect_over_all_pairs(trained: Trained) -> None:
    first = trained.grid.finals[1]
    finals = [_at(_at(first, lead), lam, "lam") for lead in (0.3, 0.9) for lam in (0.0, 1.0)]
    finals = [trained.grid.finals[0], *finals]
    errors = ([5.0, 4.8, 4.9], [4.0, 4.2, 4.1], [3.0, 3.1, 3.2], [6.0, 6.1, 6.2], [5.0, 5.3, 5.1])
    found = ask(with_errors(replace(trained.grid, finals=finals), errors), "followers")
    effects = {effect["axis"]: effect for effect in found.data["effects"]}
    assert effects["lam"]["pairs"] == 2
    assert effects["lam"]["difference"]["points"]["mean"] == pytest.approx(-0.98333, abs=1e-4)
    assert effects["lam"]["difference"]["verdict"] == "lower"


def test_an_ablation_orders_its_arms_and_tells_neighbours_apart(trained: Trained) -> None:
    errors = [CLEAR[0], CLEAR[1], CLEAR[1][::-1], CLEAR[3]]
    sentence = ask(with_errors(trained.grid, errors), "ablation").sentence
    order = [sentence.index(name) for name in ("bp (", "leadership=0.3", "leadership=0.9")]
    assert order == sorted(order)
    between = sentence[order[1] : order[2]]
    assert "~" in between
    assert " < " in sentence[: order[1]]


def test_a_rule_that_is_better_when_deeper_uses_depth(trained: Trained) -> None:
    for errors, words in (
        (CLEAR[2::-1], "a larger leadership gives a lower error"),
        (CLEAR[:3], "every larger leadership gives a higher error"),
        (NOISY[:3], "whether leadership is used is undecided"),
        (SAME[:3], "a larger leadership gives no lower error"),
    ):
        found = ask(along(trained.grid, (2, 4, 8), errors), "depth")
        assert words in found.sentence.lower()


def test_depth_is_counted_from_the_smallest_value_wherever_it_is_listed(trained: Trained) -> None:
    # 9 % at 2, 5 % at 4 and 2 % at 8.
    found = ask(along(trained.grid, (8, 2, 4), (CLEAR[0], CLEAR[3], CLEAR[1])), "depth")
    assert "a larger leadership gives a lower error" in found.sentence.lower()
    assert "points from 2 to 8)" in found.sentence
    assert found.details[0].endswith("9.07 % at 2, 5.05 % at 4, 2.00 % at 8.")


def test_depth_says_where_the_smallest_value_has_no_finished_run(trained: Trained) -> None:
    results = along(trained.grid, (2, 4, 8), [CLEAR[3], CLEAR[1], CLEAR[0]])
    shallow, *deeper = results.finals
    found = ask(replace(results, finals=deeper, missing=[shallow.point]), "depth")
    assert "counted from 4, because no run has finished at 2" in found.sentence
    assert "points from 4 to 8)" in found.sentence
    whole = ask(results, "depth")
    assert "counted from" not in whole.sentence


def test_values_that_are_lists_have_their_best_set_too(trained: Trained) -> None:
    finals = [
        _at(final, widths, "net.widths")
        for widths in ([256], [128, 128])
        for final in trained.grid.finals[:2]
    ]
    results = with_errors(replace(trained.grid, finals=finals), [*CLEAR[:2], *CLEAR[1::-1]])
    (entry,) = ask(results, "samples").data["axes"]
    assert entry["best"] == {"256": ["bp"], "128,128": ["lfnn_l"]}


def test_the_best_set_is_followed_along_an_axis(trained: Trained) -> None:
    few = [_at(final, 100, "examples") for final in trained.grid.finals[:2]]
    many = [_at(final, 1000, "examples") for final in trained.grid.finals[:2]]
    results = replace(trained.grid, finals=[*few, *many])
    found = ask(with_errors(results, [CLEAR[0], CLEAR[1], CLEAR[1], CLEAR[0]]), "samples")
    assert f"along examples, {SET} changes: bp at 100; lfnn_l at 1000." in found.sentence
    found = ask(with_errors(results, [CLEAR[0], CLEAR[1], CLEAR[0], CLEAR[1]]), "samples")
    assert f"{SET}: bp everywhere (100 ... 1000)." in found.sentence


def test_a_rule_no_better_than_chance_does_not_learn(trained: Trained) -> None:
    errors = [CLEAR[0], CLEAR[1], [90.0, 89.5, 90.5], [91.0, 90.0, 89.0]]
    found = ask(with_errors(trained.grid, errors), "screen")
    assert "2 of 4 configurations learn: bp" in found.sentence
    assert any(text.startswith("No better than chance (90.00 %)") for text in found.details)


def test_the_best_rule_without_bp_is_held_against_bp(trained: Trained) -> None:
    found = ask(with_errors(trained.grid, CLEAR), "table1")
    assert "lowest of the 2 BP-free ones: lfnn_l leadership=0.3" in found.sentence
    assert found.data["groups"][0]["against_reference"]["verdict"] == "higher"


def test_rules_are_put_together_over_several_tasks(trained: Trained) -> None:
    first, second = trained.grid.finals[:2]
    finals = [_at(final, n, "examples") for n in (100, 1000) for final in (first, second)]
    errors = [[4.0, 4.2, 3.8], [8.0, 8.4, 7.6], [2.0, 2.1, 1.9], [6.0, 6.3, 5.7]]
    found = ask(with_errors(replace(trained.grid, finals=finals), errors), "table1")
    (entry,) = found.data["overall"]
    assert (entry["rule"], entry["equal"]) == ("lfnn_l", None)
    assert entry["interquartile_mean"]["value"] == pytest.approx(2.5, abs=0.2)
    assert entry["better_than_reference"]["value"] == 0
    assert any("interquartile mean of its error over bp's" in text for text in found.details)


def test_bps_own_seeds_count_in_ratios_to_it(trained: Trained) -> None:
    first, second = trained.grid.finals[:2]
    finals = [_at(final, n, "examples") for n in (100, 1000) for final in (first, second)]
    errors = [[4.0, 4.4, 3.6], [8.0, 8.0, 8.0], [2.0, 2.2, 1.8], [4.0, 4.0, 4.0]]
    found = ask(with_errors(replace(trained.grid, finals=finals), errors), "table1")
    (entry,) = found.data["overall"]
    low, high = entry["interquartile_mean"]["ci95"]
    assert entry["interquartile_mean"]["value"] == pytest.approx(2.0)
    assert low < 1.95
    assert high > 2.05


def test_equal_epochs_and_equal_operations_are_two_questions_over_tasks(trained: Trained) -> None:
    first, second, *_ = trained.grid.finals
    finals = [
        _at(_at(final, n, "examples"), equal, "equal")
        for equal in ("epochs", "flops")
        for n in (100, 1000)
        for final in (first, second)
    ]
    errors = [[4.0, 4.2, 3.8], [8.0, 8.4, 7.6]] * 2 + [[4.0, 4.2, 3.8], [2.0, 2.1, 1.9]] * 2
    found = ask(with_errors(replace(trained.grid, finals=finals), errors), "table1")
    epochs, flops = found.data["overall"]
    assert (epochs["equal"], flops["equal"]) == ("epochs", "flops")
    assert epochs["interquartile_mean"]["value"] == pytest.approx(2.0, abs=0.1)
    assert flops["interquartile_mean"]["value"] == pytest.approx(0.5, abs=0.1)
    assert any("over 2 tasks at equal flops: " in text for text in found.details)


def test_a_search_is_answered_as_ranges(trained: Trained) -> None:
    found = ask(trained.search, "identify")
    assert "trained again with fresh seeds, test error" in found.sentence
    assert found.data["searches"][0]["ranges"]["lr"]["whole"] is False


def test_a_sentence_begins_large_unless_with_a_name() -> None:
    assert capital("on digits") == "On digits"
    assert capital("lfnn_l on digits") == "lfnn_l on digits"
    assert capital("bp has a lower error") == "bp has a lower error"


def test_long_lists_are_counted() -> None:
    assert joined(["a"]) == "a"
    assert joined(["a", "b", "c"]) == "a, b and c"
    assert joined(list("abcdefgh"), most=4) == "a, b, c and 5 more"
