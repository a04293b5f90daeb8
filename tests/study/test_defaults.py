"""The defaults are trial 0 of a search, also where they lie outside of what is searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lbench.home import Home
from lbench.registry import registry
from lbench.study.defaults import best_of, defaults, has_defaults, settings_of, values_of
from lbench.study.definition import Domain, Point, Search, Span
from lbench.study.search import OptunaSearch
from lbench.study.storage import storage
from tests.run.helper import ask

pytestmark = pytest.mark.usefixtures("searches")

POINT = Point(0, "lfnn_l", "digits", "mlp", {}, {})
SPACE: dict[str, Domain] = {
    "lr": Span(1e-4, 0.1, log=True),
    "weight_decay": Span(1e-7, 1e-2, log=True),
}
INSIDE = {"lr": 0.003, "weight_decay": 1e-3}
OUTSIDE = {"lr": 0.003, "weight_decay": 0.0}


def searching(
    home: Path,
    settings: dict[str, Any] | None = OUTSIDE,
    space: dict[str, Domain] = SPACE,
    name: str = "s",
    **search: Any,
) -> OptunaSearch:
    asked = Search(**{"trials": 4, **search})
    return OptunaSearch(name, POINT, asked, space, storage(Home(home)), registry(), settings)


def carry_out(found: OptunaSearch, errors: list[float]) -> list[dict[str, Any]]:
    """Give every trial that is asked for the next of these errors; the settings of all."""
    given = []
    while (asked := found.next()) is not None:
        number, seed, params = asked
        given.append(dict(params))
        found.ended_seed(number, seed, "finished", None, {"val_error": errors[number]})
    return given


@pytest.mark.parametrize("settings", [INSIDE, OUTSIDE], ids=["inside", "outside"])
@pytest.mark.parametrize("sampler", ["tpe", "gp", "random", "qmc", "cmaes"])
def test_the_defaults_are_trial_0_and_count_as_one_of_those_asked_for(
    tmp_path: Path, sampler: str, settings: dict[str, Any]
) -> None:
    found = searching(tmp_path, settings, sampler=sampler)
    given = carry_out(found, [2.0, 3.0, 4.0, 5.0])
    assert len(given) == 4
    assert given[0] == settings
    for params in given[1:]:
        assert 1e-4 <= params["lr"] <= 0.1
        assert 1e-7 <= params["weight_decay"] <= 1e-2
    assert found.done
    trials = found.study.get_trials(deepcopy=False)
    assert [has_defaults(trial) for trial in trials] == [True, False, False, False]
    assert found.chose_defaults
    assert found.best is not None
    assert settings_of(found.best) == settings
    assert values_of(found.best) == [2.0]


def test_samplers_never_see_settings_from_outside_of_the_space(tmp_path: Path) -> None:
    found = searching(tmp_path, OUTSIDE)
    carry_out(found, [2.0, 3.0, 4.0, 5.0])
    states = [trial.state.name for trial in found.study.get_trials(deepcopy=False)]
    assert states == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert [trial.number for trial in found.study.best_trials] == [1]


def test_what_is_better_than_the_defaults_is_chosen(tmp_path: Path) -> None:
    found = searching(tmp_path, OUTSIDE)
    carry_out(found, [4.0, 5.0, 3.0, 6.0])
    assert found.best is not None
    assert found.best.number == 2
    assert not found.chose_defaults


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("settings", [INSIDE, OUTSIDE], ids=["inside", "outside"])
@pytest.mark.parametrize("status", ["running", "killed", "finished", "failed", "diverged"])
def test_a_search_that_goes_on_has_the_defaults_once(
    tmp_path: Path, settings: dict[str, Any], status: str
) -> None:
    first = searching(tmp_path, settings)
    asked = first.next()
    assert asked is not None
    assert asked[2] == settings
    if status != "running":  # else it was being trained when its driver died
        first.ended_seed(asked[0], asked[1], status, "why", {"val_error": 9.0})
    second = searching(tmp_path, settings)
    given = carry_out(second, [9.0, 3.0, 4.0, 5.0])
    assert (given[0] == settings) == (status in ("running", "killed"))
    trials = second.study.get_trials(deepcopy=False)
    assert [has_defaults(trial) for trial in trials] == [True, False, False, False]
    complete = values_of(trials[0]) == [9.0]
    assert complete == (status in ("running", "killed", "finished"))


def test_a_search_that_began_without_the_defaults_goes_on_without_them(tmp_path: Path) -> None:
    before = searching(tmp_path, None)
    number, seed, _ = before.next() or (-1, -1, {})
    before.ended_seed(number, seed, "finished", None, {"val_error": 5.0})
    found = searching(tmp_path, OUTSIDE)
    assert len(carry_out(found, [5.0, 3.0, 4.0, 5.0])) == 3
    assert not any(has_defaults(trial) for trial in found.study.get_trials(deepcopy=False))


GRID: dict[str, Domain] = {"lr": (0.001, 0.003), "optimizer": ("adam", "sgd")}


def test_a_grid_begins_with_the_defaults_and_has_every_combination_once(tmp_path: Path) -> None:
    own = {"lr": 0.003, "optimizer": "adam"}
    first = searching(tmp_path, own, GRID, sampler="grid")
    number, seed, params = first.next() or (-1, -1, {})
    assert params == own
    first.ended_seed(number, seed, "finished", None, {"val_error": 1.0})
    second = searching(tmp_path, own, GRID, sampler="grid")
    given = [own, *carry_out(second, [1.0, 2.0, 3.0, 4.0])]
    assert len(given) == len({str(sorted(each.items())) for each in given}) == 4
    assert second.chose_defaults


def test_a_grid_that_does_not_have_the_defaults_is_as_large_as_before(tmp_path: Path) -> None:
    other = {"lr": 0.005, "optimizer": "adam"}
    found = searching(tmp_path, other, GRID, sampler="grid")
    assert other not in carry_out(found, [1.0, 2.0, 3.0, 4.0])
    assert not any(has_defaults(trial) for trial in found.study.get_trials(deepcopy=False))


def test_rules_with_one_space_get_the_same_quasi_random_trials_whatever_their_defaults(
    tmp_path: Path,
) -> None:
    errors = [1.0, 2.0, 3.0, 4.0]
    one, other = (
        carry_out(searching(tmp_path, settings, name=str(settings), sampler="qmc"), errors)
        for settings in (INSIDE, OUTSIDE)
    )
    assert one[1:] == other[1:]


@pytest.mark.parametrize("settings", [INSIDE, OUTSIDE], ids=["inside", "outside"])
def test_the_defaults_are_not_pruned(tmp_path: Path, settings: dict[str, Any]) -> None:
    found = searching(tmp_path, settings, trials=8)
    first = found.next()
    assert first is not None
    for _ in range(5):  # others end before them
        number, seed, _ = found.next() or (-1, -1, {})
        assert all(found.epoch(number, seed, epoch, 5.0) is None for epoch in range(1, 5))
        found.ended_seed(number, seed, "finished", None, {"val_error": 5.0})
    assert all(found.epoch(first[0], first[1], epoch, 90.0) is None for epoch in range(1, 5))
    number, seed, _ = found.next() or (-1, -1, {})
    assert [found.epoch(number, seed, epoch, 90.0) is None for epoch in (1, 2, 3)][-1] is False


def test_of_several_seeds_the_defaults_have_the_mean(tmp_path: Path) -> None:
    found = searching(tmp_path, OUTSIDE, trials=1, seeds=2)
    for error in (3.0, 5.0):
        number, seed, params = found.next() or (-1, -1, {})
        assert params == OUTSIDE
        found.ended_seed(number, seed, "finished", None, {"val_error": error})
    best = best_of(found.study.get_trials(deepcopy=False))
    assert best is not None
    assert values_of(best) == [4.0]


def test_defaults_are_those_of_the_point_and_not_of_the_class() -> None:
    cell = ask("pepita", config={}, recipe={"batch": 16}).cell
    found = defaults(cell, ("optimizer", "lr", "batch", "milestones"))
    assert found == {"optimizer": "sgd", "lr": 0.1, "batch": 16, "milestones": "0.5,0.75,0.9"}
    assert defaults(ask("lfnn_l").cell, ("leadership",)) == {"leadership": 0.7}


def test_a_default_of_none_lies_outside_of_numbers(tmp_path: Path) -> None:
    space: dict[str, Domain] = {"lr": Span(1e-4, 0.1, log=True), "leadership": Span(0.1, 1.0)}
    settings = {"lr": 0.003, "leadership": None}
    given = carry_out(searching(tmp_path, settings, space), [1.0, 2.0, 3.0, 4.0])
    assert given[0] == settings
    assert all(params["leadership"] is not None for params in given[1:])
