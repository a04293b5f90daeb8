"""A search has exactly its trials, whatever happens to them and to whoever drives it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest

from lbench.errors import StoreError
from lbench.home import Home
from lbench.registry import registry
from lbench.study.definition import Domain, Point, Search, Span
from lbench.study.search import REASON, OptunaSearch, search_name
from lbench.study.storage import reaching, storage

pytestmark = pytest.mark.usefixtures("searches")

POINT = Point(0, "lfnn_l", "digits", "mlp", {}, {})
SPACE: dict[str, Domain] = {"lr": Span(1e-4, 0.1, log=True), "leadership": Span(0.1, 1.0, 0.1)}


def test_rules_with_one_space_are_given_the_same_quasi_random_trials(tmp_path: Path) -> None:
    def suggested(name: str) -> list[Any]:
        search = Search(trials=4, sampler="qmc", pruning=False)
        found = OptunaSearch(name, POINT, search, SPACE, storage(Home(tmp_path)), registry())
        return [each[2] for _ in range(4) if (each := found.next()) is not None]

    first = suggested("one")
    assert len({str(each) for each in first}) == 4
    assert suggested("other") == first


def searching(home: Path, space: dict[str, Domain] = SPACE, **search: Any) -> OptunaSearch:
    asked = Search(**{"trials": 6, **search})
    return OptunaSearch("s", POINT, asked, space, storage(Home(home)), registry())


def end(found: OptunaSearch, number: int, seed: int, error: float = 5.0) -> None:
    found.ended_seed(number, seed, "finished", None, {"val_error": error, "step_memory": 1.0})


def states(found: OptunaSearch) -> list[str]:
    return [trial.state.name for trial in found.study.get_trials(deepcopy=False)]


def test_every_end_of_a_trial_counts_and_no_more_are_asked_for(tmp_path: Path) -> None:
    found = searching(tmp_path)
    ends = ["finished", "failed", "diverged", "pruned", "finished", "finished"]
    for status in ends:
        asked = found.next()
        assert asked is not None
        reason = None if status == "finished" else "why"
        found.ended_seed(asked[0], asked[1], status, reason, {"val_error": 5.0})
    assert found.next() is None
    assert found.done
    assert states(found) == ["COMPLETE", "FAIL", "PRUNED", "PRUNED", "COMPLETE", "COMPLETE"]
    reasons = [t.user_attrs.get(REASON) for t in found.study.get_trials(deepcopy=False)]
    assert reasons[1:4] == ["failed: why", "diverged: why", "why"]


def test_trials_that_a_dead_process_left_keep_their_numbers_and_settings(tmp_path: Path) -> None:
    first = searching(tmp_path)
    left = [first.next() for _ in range(2)]  # and then it dies
    second = searching(tmp_path)
    again = [second.next() for _ in range(2)]
    assert again == left
    for _ in range(6):
        end(second, *(again.pop() if again else second.next())[:2])  # type: ignore[index,misc]
    assert second.done
    assert len(states(second)) == 6


def test_trials_of_a_process_that_died_before_it_drew_are_not_drawn_twice(tmp_path: Path) -> None:
    searching(tmp_path, pruning=False).study.ask()  # and then it dies
    second = searching(tmp_path, pruning=False)
    drawn = second.next()  # and then it dies, with as many trials as it found
    third = searching(tmp_path, pruning=False)
    again, after = third.next(), third.next()
    assert drawn is not None
    assert after is not None
    assert again == drawn
    assert after[2] != drawn[2]


def test_a_stopped_trial_goes_on_under_its_number(tmp_path: Path) -> None:
    first = searching(tmp_path)
    asked = first.next()
    assert asked is not None
    first.ended_seed(asked[0], asked[1], "killed", "interrupted", {})
    assert searching(tmp_path).next() == asked


def test_of_several_seeds_the_first_decides_and_the_mean_is_told(tmp_path: Path) -> None:
    found = searching(tmp_path, seeds=3, trials=1)
    number, seed, _ = found.next() or (-1, -1, {})
    assert seed == 0
    assert found.next() is None  # the others wait
    end(found, number, 0, 3.0)
    for error in (4.0, 8.0):
        number, seed, _ = found.next() or (-1, -1, {})
        end(found, number, seed, error)
    assert found.best is not None
    assert found.best.values == [5.0]


def test_a_trial_worse_than_the_median_is_pruned_from_the_third_epoch_on(tmp_path: Path) -> None:
    found = searching(tmp_path, trials=8)
    for error in (4.0, 5.0, 6.0, 7.0, 8.0):
        number, seed, _ = found.next() or (-1, -1, {})
        assert all(found.epoch(number, seed, e, error) is None for e in (1, 2, 3, 4))
        end(found, number, seed, error)
    number, seed, _ = found.next() or (-1, -1, {})
    assert found.epoch(number, seed, 1, 30.0) is None
    assert found.epoch(number, seed, 2, 20.0) is None
    reason = found.epoch(number, seed, 3, 10.0)
    assert reason is not None
    assert "10.00 %" in reason
    assert "6.00 %" in reason


def test_several_objectives_prune_nothing_and_have_a_front(tmp_path: Path) -> None:
    found = searching(tmp_path, objectives=("val_error", "step_memory"), trials=2)
    for error, memory in ((3.0, 2.0), (5.0, 1.0)):
        number, seed, _ = found.next() or (-1, -1, {})
        assert found.epoch(number, seed, 5, 90.0) is None
        values = {"val_error": error, "step_memory": memory}
        found.ended_seed(number, seed, "finished", None, values)
    assert len(found.study.best_trials) == 2


def test_a_grid_is_covered_once_also_by_two_processes(tmp_path: Path) -> None:
    space: dict[str, Domain] = {"lr": (0.001, 0.01), "optimizer": ("adam", "sgd")}
    first = searching(tmp_path, space, sampler="grid")
    number, seed, _ = first.next() or (-1, -1, {})
    end(first, number, seed)
    second = searching(tmp_path, space, sampler="grid")
    while (asked := second.next()) is not None:
        end(second, *asked[:2])
    combinations = {tuple(sorted(t.params.items())) for t in second.study.trials}
    assert len(combinations) == len(second.study.trials) == 4


def test_a_grid_of_lists_is_suggested_as_the_command_line_has_them(tmp_path: Path) -> None:
    space: dict[str, Domain] = {"milestones": ((0.5, 0.75), (0.9,)), "lr": (0.1,)}
    found = searching(tmp_path, space, sampler="grid")
    asked = [found.next() for _ in range(2)]
    assert {each[2]["milestones"] for each in asked if each} == {"0.5,0.75", "0.9"}
    assert found.next() is None


def test_a_grid_is_no_continuation_of_a_search_of_the_same_values() -> None:
    values: dict[str, Domain] = {"lr": (0.1, 0.2)}
    names = {
        search_name("s", POINT, Search(sampler=sampler), values, {})
        for sampler in ("grid", "tpe", "random")
    }
    assert len(names) == 2


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp"])
def test_a_search_that_goes_on_suggests_what_it_had_not_yet(tmp_path: Path, sampler: str) -> None:
    rates = set()
    for _ in range(3):  # three processes, each of which dies behind two trials
        found = searching(tmp_path, sampler=sampler)
        for _ in range(2):
            number, seed, params = found.next() or (-1, -1, {})
            end(found, number, seed, 5.0 + number)
            rates.add(params["lr"])
    assert len(rates) == 6


def test_a_trial_that_is_too_many_by_now_is_not_begun(tmp_path: Path) -> None:
    first = searching(tmp_path)
    for _ in range(2):
        asked = first.next() or (-1, -1, {})
    end(first, asked[0], asked[1])  # the other is left running
    assert searching(tmp_path, trials=1).next() is None
    goes_on = searching(tmp_path, trials=2).next()
    assert goes_on is not None
    assert goes_on[0] == 0


def test_what_a_run_that_goes_on_tells_again_is_not_decided_again(tmp_path: Path) -> None:
    first = searching(tmp_path, trials=8)
    for _ in range(5):
        number, seed, _ = first.next() or (-1, -1, {})
        for epoch in range(1, 6):
            first.epoch(number, seed, epoch, 5.0)
        end(first, number, seed)
    number, seed, _ = first.next() or (-1, -1, {})
    assert first.epoch(number, seed, 4, 90.0) is not None
    # The driver dies before its word arrives.
    second = searching(tmp_path, trials=8)
    assert second.next() == (number, seed, second._asked[number].params)
    assert [second.epoch(number, seed, epoch, 90.0) is None for epoch in (3, 4)] == [True, False]


def test_an_epoch_without_a_number_prunes_nothing(tmp_path: Path) -> None:
    found = searching(tmp_path)
    number, seed, _ = found.next() or (-1, -1, {})
    assert found.epoch(number, seed, 1, None) is None
    found.ended_seed(number, seed, "diverged", "loss is nan", {})
    assert states(found) == ["PRUNED"]


def test_a_finished_run_without_a_value_has_failed(tmp_path: Path) -> None:
    found = searching(tmp_path, objectives=("val_error", "step_memory"))
    number, seed, _ = found.next() or (-1, -1, {})
    found.ended_seed(number, seed, "finished", None, {"val_error": 3.0, "step_memory": None})
    (trial,) = found.study.get_trials(deepcopy=False)
    assert (trial.state.name, trial.user_attrs[REASON]) == (
        "FAIL",
        "failed: no value of step_memory",
    )


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random", "qmc", "cmaes"])
def test_every_sampler_suggests_within_the_space(tmp_path: Path, sampler: str) -> None:
    found = searching(tmp_path, sampler=sampler, trials=3)
    while (asked := found.next()) is not None:
        number, seed, params = asked
        assert 1e-4 <= params["lr"] <= 0.1
        assert 0.1 <= params["leadership"] <= 1.0
        end(found, number, seed)
    assert states(found) == ["COMPLETE"] * 3


def test_another_space_or_code_is_another_search() -> None:
    name = search_name("s", POINT, Search(), SPACE, {"code": "a"})
    assert name == search_name("s", POINT, Search(trials=99), SPACE, {"code": "a"})
    assert name != search_name("s", POINT, Search(), SPACE, {"code": "b"})
    assert name != search_name("s", POINT, Search(), {"lr": Span(1e-4, 1.0)}, {"code": "a"})


def test_a_storage_of_another_optuna_is_told_and_not_touched(tmp_path: Path) -> None:
    searching(tmp_path).next()
    with sqlite3.connect(tmp_path / "optuna.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v2.6.0.a'")
    connection.close()
    before = (tmp_path / "optuna.db").read_bytes()
    with pytest.raises(StoreError, match="another version"):
        storage(Home(tmp_path))
    assert (tmp_path / "optuna.db").read_bytes() == before
    assert optuna.__version__.startswith("5.")


def test_a_storage_that_is_none_is_told_and_not_touched(tmp_path: Path) -> None:
    (tmp_path / "optuna.db").write_text("no database at all, but long enough to be taken for one")
    with pytest.raises(StoreError, match=r"cannot be used: .*not a database") as raised:
        storage(Home(tmp_path))
    assert "move it away" in raised.value.hint
    assert (tmp_path / "optuna.db").read_text().startswith("no database")


def test_a_storage_that_fails_meanwhile_is_told_as_a_store_that_failed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    found = searching(tmp_path)
    with sqlite3.connect(tmp_path / "optuna.db") as connection:
        connection.execute("DROP TABLE trial_values")
    connection.close()
    with pytest.raises(StoreError, match="no such table: trial_values"), reaching(home):
        found.next()
