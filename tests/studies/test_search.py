"""A search has exactly its number of trials, also if runs fail or its driver dies."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest

from lbench.errors import StoreError
from lbench.home import Home
from lbench.registry import registry
from lbench.studies.definition import Domain, Point, Search, Span
from lbench.studies.search import REASON, OptunaSearch, search_name
from lbench.studies.storage import storage, storage_errors

pytestmark = pytest.mark.usefixtures("searches")

POINT = Point(0, "lfnn_l", "digits", "mlp", {}, {})
SPACE: dict[str, Domain] = {"lr": Span(1e-4, 0.1, log=True), "leadership": Span(0.1, 1.0, 0.1)}


def test_rules_with_the_same_space_have_the_same_quasi_random_trials(tmp_path: Path) -> None:
    def suggested(name: str) -> list[Any]:
        settings = Search(trials=4, sampler="qmc", pruning=False)
        search = OptunaSearch(name, POINT, settings, SPACE, storage(Home(tmp_path)), registry())
        return [run[2] for _ in range(4) if (run := search.next()) is not None]

    first = suggested("one")
    assert len({str(params) for params in first}) == 4
    assert suggested("other") == first


def make_search(home: Path, space: dict[str, Domain] = SPACE, **changes: Any) -> OptunaSearch:
    settings = Search(**{"trials": 6, **changes})
    return OptunaSearch("s", POINT, settings, space, storage(Home(home)), registry())


def end(search: OptunaSearch, number: int, seed: int, error: float = 5.0) -> None:
    search.end_run(number, seed, "finished", None, {"val_error": error, "step_memory": 1.0})


def states(search: OptunaSearch) -> list[str]:
    return [trial.state.name for trial in search.study.get_trials(deepcopy=False)]


def test_trials_count_however_they_end_and_no_more_are_suggested(tmp_path: Path) -> None:
    search = make_search(tmp_path)
    ends = ["finished", "failed", "diverged", "pruned", "finished", "finished"]
    for status in ends:
        run = search.next()
        assert run is not None
        reason = None if status == "finished" else "why"
        search.end_run(run[0], run[1], status, reason, {"val_error": 5.0})
    assert search.next() is None
    assert search.done
    assert states(search) == ["COMPLETE", "FAIL", "PRUNED", "PRUNED", "COMPLETE", "COMPLETE"]
    reasons = [t.user_attrs.get(REASON) for t in search.study.get_trials(deepcopy=False)]
    assert reasons[1:4] == ["failed: why", "diverged: why", "why"]


def test_trials_of_a_dead_process_keep_their_numbers_and_settings(tmp_path: Path) -> None:
    first = make_search(tmp_path)
    left = [first.next() for _ in range(2)]  # and then it dies
    second = make_search(tmp_path)
    again = [second.next() for _ in range(2)]
    assert again == left
    for _ in range(6):
        end(second, *(again.pop() if again else second.next())[:2])  # type: ignore[index,misc]
    assert second.done
    assert len(states(second)) == 6


def test_a_trial_without_values_of_a_dead_process_does_not_repeat_another_one(
    tmp_path: Path,
) -> None:
    make_search(tmp_path, pruning=False).study.ask()  # and then it dies
    second = make_search(tmp_path, pruning=False)
    drawn = second.next()  # and then it dies, with as many trials as it search
    third = make_search(tmp_path, pruning=False)
    again, after = third.next(), third.next()
    assert drawn is not None
    assert after is not None
    assert again == drawn
    assert after[2] != drawn[2]


def test_a_stopped_trial_continues_under_its_number(tmp_path: Path) -> None:
    first = make_search(tmp_path)
    run = first.next()
    assert run is not None
    first.end_run(run[0], run[1], "killed", "interrupted", {})
    assert make_search(tmp_path).next() == run


def test_the_first_seed_decides_on_pruning_and_the_mean_is_the_value(tmp_path: Path) -> None:
    search = make_search(tmp_path, seeds=3, trials=1)
    number, seed, _ = search.next() or (-1, -1, {})
    assert seed == 0
    assert search.next() is None  # the others wait
    end(search, number, 0, 3.0)
    for error in (4.0, 8.0):
        number, seed, _ = search.next() or (-1, -1, {})
        end(search, number, seed, error)
    assert search.best is not None
    assert search.best.values == [5.0]


def test_a_trial_worse_than_the_median_is_pruned_from_the_third_epoch_on(tmp_path: Path) -> None:
    search = make_search(tmp_path, trials=8)
    for error in (4.0, 5.0, 6.0, 7.0, 8.0):
        number, seed, _ = search.next() or (-1, -1, {})
        assert all(search.report_epoch(number, seed, e, error) is None for e in (1, 2, 3, 4))
        end(search, number, seed, error)
    number, seed, _ = search.next() or (-1, -1, {})
    assert search.report_epoch(number, seed, 1, 30.0) is None
    assert search.report_epoch(number, seed, 2, 20.0) is None
    reason = search.report_epoch(number, seed, 3, 10.0)
    assert reason is not None
    assert "10.00 %" in reason
    assert "6.00 %" in reason


def test_a_search_with_several_objectives_does_not_prune_and_has_a_front(tmp_path: Path) -> None:
    search = make_search(tmp_path, objectives=("val_error", "step_memory"), trials=2)
    for error, memory in ((3.0, 2.0), (5.0, 1.0)):
        number, seed, _ = search.next() or (-1, -1, {})
        assert search.report_epoch(number, seed, 5, 90.0) is None
        values = {"val_error": error, "step_memory": memory}
        search.end_run(number, seed, "finished", None, values)
    assert len(search.study.best_trials) == 2


def test_two_processes_cover_a_grid_once(tmp_path: Path) -> None:
    space: dict[str, Domain] = {"lr": (0.001, 0.01), "optimizer": ("adam", "sgd")}
    first = make_search(tmp_path, space, sampler="grid")
    number, seed, _ = first.next() or (-1, -1, {})
    end(first, number, seed)
    second = make_search(tmp_path, space, sampler="grid")
    while (run := second.next()) is not None:
        end(second, *run[:2])
    combinations = {tuple(sorted(t.params.items())) for t in second.study.trials}
    assert len(combinations) == len(second.study.trials) == 4


def test_lists_in_a_grid_are_suggested_in_the_syntax_of_the_command_line(tmp_path: Path) -> None:
    space: dict[str, Domain] = {"milestones": ((0.5, 0.75), (0.9,)), "lr": (0.1,)}
    search = make_search(tmp_path, space, sampler="grid")
    runs = [search.next() for _ in range(2)]
    assert {run[2]["milestones"] for run in runs if run} == {"0.5,0.75", "0.9"}
    assert search.next() is None


def test_a_grid_does_not_continue_a_search_of_the_same_values() -> None:
    values: dict[str, Domain] = {"lr": (0.1, 0.2)}
    names = {
        search_name("s", POINT, Search(sampler=sampler), values, {})
        for sampler in ("grid", "tpe", "random")
    }
    assert len(names) == 2


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp"])
def test_a_continued_search_suggests_new_values(tmp_path: Path, sampler: str) -> None:
    rates = set()
    for _ in range(3):  # three processes, each of which dies after two trials
        search = make_search(tmp_path, sampler=sampler)
        for _ in range(2):
            number, seed, params = search.next() or (-1, -1, {})
            end(search, number, seed, 5.0 + number)
            rates.add(params["lr"])
    assert len(rates) == 6


def test_a_search_with_fewer_trials_than_before_does_not_begin_another(tmp_path: Path) -> None:
    first = make_search(tmp_path)
    for _ in range(2):
        run = first.next() or (-1, -1, {})
    end(first, run[0], run[1])  # the other is left running
    assert make_search(tmp_path, trials=1).next() is None
    continued = make_search(tmp_path, trials=2).next()
    assert continued is not None
    assert continued[0] == 0


def test_repeated_epochs_of_a_continued_run_are_not_judged_again(tmp_path: Path) -> None:
    first = make_search(tmp_path, trials=8)
    for _ in range(5):
        number, seed, _ = first.next() or (-1, -1, {})
        for epoch in range(1, 6):
            first.report_epoch(number, seed, epoch, 5.0)
        end(first, number, seed)
    number, seed, _ = first.next() or (-1, -1, {})
    assert first.report_epoch(number, seed, 4, 90.0) is not None
    # The driver dies before its answer arrives.
    second = make_search(tmp_path, trials=8)
    assert second.next() == (number, seed, second._running[number].params)
    assert [second.report_epoch(number, seed, epoch, 90.0) is None for epoch in (3, 4)] == [
        True,
        False,
    ]


def test_an_epoch_without_an_error_does_not_prune(tmp_path: Path) -> None:
    search = make_search(tmp_path)
    number, seed, _ = search.next() or (-1, -1, {})
    assert search.report_epoch(number, seed, 1, None) is None
    search.end_run(number, seed, "diverged", "loss is nan", {})
    assert states(search) == ["PRUNED"]


def test_a_finished_run_without_a_value_counts_as_failed(tmp_path: Path) -> None:
    search = make_search(tmp_path, objectives=("val_error", "step_memory"))
    number, seed, _ = search.next() or (-1, -1, {})
    search.end_run(number, seed, "finished", None, {"val_error": 3.0, "step_memory": None})
    (trial,) = search.study.get_trials(deepcopy=False)
    assert (trial.state.name, trial.user_attrs[REASON]) == (
        "FAIL",
        "failed: no value of step_memory",
    )


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random", "qmc", "cmaes"])
def test_every_sampler_suggests_within_the_space(tmp_path: Path, sampler: str) -> None:
    search = make_search(tmp_path, sampler=sampler, trials=3)
    while (run := search.next()) is not None:
        number, seed, params = run
        assert 1e-4 <= params["lr"] <= 0.1
        assert 0.1 <= params["leadership"] <= 1.0
        end(search, number, seed)
    assert states(search) == ["COMPLETE"] * 3


def test_another_space_or_code_gives_another_name() -> None:
    name = search_name("s", POINT, Search(), SPACE, {"code": "a"})
    assert name == search_name("s", POINT, Search(trials=99), SPACE, {"code": "a"})
    assert name != search_name("s", POINT, Search(), SPACE, {"code": "b"})
    assert name != search_name("s", POINT, Search(), {"lr": Span(1e-4, 1.0)}, {"code": "a"})


def test_a_storage_of_another_optuna_version_is_an_error_and_not_changed(tmp_path: Path) -> None:
    make_search(tmp_path).next()
    with sqlite3.connect(tmp_path / "optuna.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v2.6.0.a'")
    connection.close()
    before = (tmp_path / "optuna.db").read_bytes()
    with pytest.raises(StoreError, match="another version"):
        storage(Home(tmp_path))
    assert (tmp_path / "optuna.db").read_bytes() == before
    assert optuna.__version__.startswith("5.")


def test_a_file_that_is_no_storage_is_an_error_and_not_changed(tmp_path: Path) -> None:
    (tmp_path / "optuna.db").write_text("no database at all, but long enough to be taken for one")
    with pytest.raises(StoreError, match=r"cannot be used: .*not a database") as raised:
        storage(Home(tmp_path))
    assert "move it away" in raised.value.hint
    assert (tmp_path / "optuna.db").read_text().startswith("no database")


def test_a_storage_that_fails_during_a_search_is_a_store_error(tmp_path: Path) -> None:
    home = Home(tmp_path)
    search = make_search(tmp_path)
    with sqlite3.connect(tmp_path / "optuna.db") as connection:
        connection.execute("DROP TABLE trial_values")
    connection.close()
    with pytest.raises(StoreError, match="no such table: trial_values"), storage_errors(home):
        search.next()
