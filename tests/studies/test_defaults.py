"""The defaults are trial 0 of a search, also if they are outside the search space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lbench.home import Home
from lbench.registry import registry
from lbench.studies.defaults import best_of, defaults, has_defaults, settings_of, values_of
from lbench.studies.definition import Domain, Point, Search, Span
from lbench.studies.search import OptunaSearch
from lbench.studies.storage import storage
from tests.training.helper import ask

pytestmark = pytest.mark.usefixtures("searches")

POINT = Point(0, "lfnn_l", "digits", "mlp", {}, {})
SPACE: dict[str, Domain] = {
    "lr": Span(1e-4, 0.1, log=True),
    "weight_decay": Span(1e-7, 1e-2, log=True),
}
INSIDE = {"lr": 0.003, "weight_decay": 1e-3}
OUTSIDE = {"lr": 0.003, "weight_decay": 0.0}


def make_search(
    home: Path,
    settings: dict[str, Any] | None = OUTSIDE,
    space: dict[str, Domain] = SPACE,
    name: str = "s",
    **changes: Any,
) -> OptunaSearch:
    search = Search(**{"trials": 4, **changes})
    return OptunaSearch(name, POINT, search, space, storage(Home(home)), registry(), settings)


def carry_out(search: OptunaSearch, errors: list[float]) -> list[dict[str, Any]]:
    """Run a search whose trials have these errors; return the settings of the trials."""
    settings = []
    while (run := search.next()) is not None:
        number, seed, params = run
        settings.append(dict(params))
        search.end_run(number, seed, "finished", None, {"val_error": errors[number]})
    return settings


@pytest.mark.parametrize("settings", [INSIDE, OUTSIDE], ids=["inside", "outside"])
@pytest.mark.parametrize("sampler", ["tpe", "gp", "random", "qmc", "cmaes"])
def test_the_defaults_are_trial_0_and_count_as_one_of_the_planned_trials(
    tmp_path: Path, sampler: str, settings: dict[str, Any]
) -> None:
    search = make_search(tmp_path, settings, sampler=sampler)
    trained = carry_out(search, [2.0, 3.0, 4.0, 5.0])
    assert len(trained) == 4
    assert trained[0] == settings
    for params in trained[1:]:
        assert 1e-4 <= params["lr"] <= 0.1
        assert 1e-7 <= params["weight_decay"] <= 1e-2
    assert search.done
    trials = search.study.get_trials(deepcopy=False)
    assert [has_defaults(trial) for trial in trials] == [True, False, False, False]
    assert search.chose_defaults
    assert search.best is not None
    assert settings_of(search.best) == settings
    assert values_of(search.best) == [2.0]


def test_samplers_never_see_settings_outside_the_space(tmp_path: Path) -> None:
    search = make_search(tmp_path, OUTSIDE)
    carry_out(search, [2.0, 3.0, 4.0, 5.0])
    states = [trial.state.name for trial in search.study.get_trials(deepcopy=False)]
    assert states == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert [trial.number for trial in search.study.best_trials] == [1]


def test_a_trial_better_than_the_defaults_is_chosen(tmp_path: Path) -> None:
    search = make_search(tmp_path, OUTSIDE)
    carry_out(search, [4.0, 5.0, 3.0, 6.0])
    assert search.best is not None
    assert search.best.number == 2
    assert not search.chose_defaults


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("settings", [INSIDE, OUTSIDE], ids=["inside", "outside"])
@pytest.mark.parametrize("status", ["running", "killed", "finished", "failed", "diverged"])
def test_a_continued_search_has_the_defaults_once(
    tmp_path: Path, settings: dict[str, Any], status: str
) -> None:
    first = make_search(tmp_path, settings)
    run = first.next()
    assert run is not None
    assert run[2] == settings
    if status != "running":  # a running trial was being trained when its driver died
        first.end_run(run[0], run[1], status, "why", {"val_error": 9.0})
    second = make_search(tmp_path, settings)
    trained = carry_out(second, [9.0, 3.0, 4.0, 5.0])
    assert (trained[0] == settings) == (status in ("running", "killed"))
    trials = second.study.get_trials(deepcopy=False)
    assert [has_defaults(trial) for trial in trials] == [True, False, False, False]
    complete = values_of(trials[0]) == [9.0]
    assert complete == (status in ("running", "killed", "finished"))


def test_a_search_that_began_without_the_defaults_continues_without_them(tmp_path: Path) -> None:
    before = make_search(tmp_path, None)
    number, seed, _ = before.next() or (-1, -1, {})
    before.end_run(number, seed, "finished", None, {"val_error": 5.0})
    search = make_search(tmp_path, OUTSIDE)
    assert len(carry_out(search, [5.0, 3.0, 4.0, 5.0])) == 3
    assert not any(has_defaults(trial) for trial in search.study.get_trials(deepcopy=False))


GRID: dict[str, Domain] = {"lr": (0.001, 0.003), "optimizer": ("adam", "sgd")}


def test_a_grid_begins_with_the_defaults_and_has_every_combination_once(tmp_path: Path) -> None:
    own = {"lr": 0.003, "optimizer": "adam"}
    first = make_search(tmp_path, own, GRID, sampler="grid")
    number, seed, params = first.next() or (-1, -1, {})
    assert params == own
    first.end_run(number, seed, "finished", None, {"val_error": 1.0})
    second = make_search(tmp_path, own, GRID, sampler="grid")
    trained = [own, *carry_out(second, [1.0, 2.0, 3.0, 4.0])]
    assert len(trained) == len({str(sorted(params.items())) for params in trained}) == 4
    assert second.chose_defaults


def test_a_grid_without_the_defaults_has_no_additional_trial(tmp_path: Path) -> None:
    other = {"lr": 0.005, "optimizer": "adam"}
    search = make_search(tmp_path, other, GRID, sampler="grid")
    assert other not in carry_out(search, [1.0, 2.0, 3.0, 4.0])
    assert not any(has_defaults(trial) for trial in search.study.get_trials(deepcopy=False))


def test_quasi_random_trials_do_not_depend_on_the_defaults(
    tmp_path: Path,
) -> None:
    errors = [1.0, 2.0, 3.0, 4.0]
    one, other = (
        carry_out(make_search(tmp_path, settings, name=str(settings), sampler="qmc"), errors)
        for settings in (INSIDE, OUTSIDE)
    )
    assert one[1:] == other[1:]


@pytest.mark.parametrize("settings", [INSIDE, OUTSIDE], ids=["inside", "outside"])
def test_the_defaults_are_not_pruned(tmp_path: Path, settings: dict[str, Any]) -> None:
    search = make_search(tmp_path, settings, trials=8)
    first = search.next()
    assert first is not None
    for _ in range(5):  # other trials end first
        number, seed, _ = search.next() or (-1, -1, {})
        assert all(search.report_epoch(number, seed, epoch, 5.0) is None for epoch in range(1, 5))
        search.end_run(number, seed, "finished", None, {"val_error": 5.0})
    assert all(
        search.report_epoch(first[0], first[1], epoch, 90.0) is None for epoch in range(1, 5)
    )
    number, seed, _ = search.next() or (-1, -1, {})
    assert [search.report_epoch(number, seed, epoch, 90.0) is None for epoch in (1, 2, 3)][
        -1
    ] is False


def test_the_value_of_the_defaults_is_the_mean_over_seeds(tmp_path: Path) -> None:
    search = make_search(tmp_path, OUTSIDE, trials=1, seeds=2)
    for error in (3.0, 5.0):
        number, seed, params = search.next() or (-1, -1, {})
        assert params == OUTSIDE
        search.end_run(number, seed, "finished", None, {"val_error": error})
    best = best_of(search.study.get_trials(deepcopy=False))
    assert best is not None
    assert values_of(best) == [4.0]


def test_defaults_are_those_of_the_point() -> None:
    cell = ask("pepita", config={}, recipe={"batch": 16}).cell
    settings = defaults(cell, ("optimizer", "lr", "batch", "milestones"))
    assert settings == {"optimizer": "sgd", "lr": 0.1, "batch": 16, "milestones": "0.5,0.75,0.9"}
    assert defaults(ask("lfnn_l").cell, ("leadership",)) == {"leadership": 0.7}


def test_a_default_of_none_is_outside_a_numeric_range(tmp_path: Path) -> None:
    space: dict[str, Domain] = {"lr": Span(1e-4, 0.1, log=True), "leadership": Span(0.1, 1.0)}
    settings = {"lr": 0.003, "leadership": None}
    trained = carry_out(make_search(tmp_path, settings, space), [1.0, 2.0, 3.0, 4.0])
    assert trained[0] == settings
    assert all(params["leadership"] is not None for params in trained[1:])
