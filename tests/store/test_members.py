"""Which runs belong to which study: in its journal first, in the record, and in MLflow's tags."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lbench.home import Home
from lbench.report.summary import metrics
from lbench.rundir import RunDir
from lbench.store.journal import Journal
from lbench.store.mlflow_view import MlflowView
from lbench.store.record import Record
from lbench.store.rows import Member
from lbench.store.sync import sync
from tests.store.helper import cell_spec, write_run


def member(run_dir: RunDir, study: str = "mine", **changes: Any) -> Member:
    spec = run_dir.spec() or {}
    place = Member(
        study, "lfnn_l/mnist/mlp", "trial", 3, spec["seed"], spec["cell"], spec["fingerprint"]
    )
    return replace(place, **changes)


def join(home: Home, *members: Member) -> None:
    for each in members:
        Journal(home, each.study).add(each)


def test_a_place_is_written_once_and_moves_to_another_run(home: Home) -> None:
    first = member(write_run(home))
    journal = Journal(home, "mine")
    assert journal.add(first)
    assert not journal.add(first)
    assert not Journal(home, "mine").add(first)
    moved = replace(first, run="another")
    assert journal.add(moved)
    assert list(journal.read()) == [first, moved]
    assert journal.add(first)  # and back


def test_a_line_that_was_cut_short_costs_itself_alone(home: Home) -> None:
    places = [member(write_run(home, seed)) for seed in range(3)]
    join(home, *places[:2])
    path = Journal(home, "mine").path
    path.write_bytes(path.read_bytes()[:-20])
    again = Journal(home, "mine")
    assert list(again.read()) == places[:1]
    again.add(places[2])
    assert list(Journal(home, "mine").read()) == [places[0], places[2]]


def test_sync_rebuilds_the_places_of_a_lost_record(home: Home) -> None:
    runs = [write_run(home, seed) for seed in range(2)]
    places = [member(run) for run in runs] + [member(runs[0], "other", role="final", trial=-1)]
    join(home, *places)
    sync(home, metrics, mlflow=False)
    for file in home.root.glob("store.db*"):
        file.unlink()
    sync(home, metrics, mlflow=False)
    with Record.open(home) as record:
        assert record.members(study="mine") == places[:2]
        assert record.members(study="other") == places[2:]
        assert set(record.members(cell=places[0].cell)) == set(places)


def test_a_known_place_of_the_record_moves_to_the_run_given_now(home: Home) -> None:
    first = member(write_run(home))
    with Record.open(home) as record:
        record.join([first])
        record.join([replace(first, run="another")])
        assert [each.run for each in record.members(study="mine")] == ["another"]


def published(home: Home) -> list[Any]:
    view = MlflowView(home)
    return list(view._client.search_runs(view.experiments()))


def test_a_study_has_an_experiment_and_its_trials_their_numbers(mlflow_home: Home) -> None:
    run = write_run(mlflow_home, 0)
    other = write_run(mlflow_home, 0, spec=cell_spec(leadership=0.3))
    join(mlflow_home, member(run))
    sync(mlflow_home, metrics)
    view = MlflowView(mlflow_home)
    names = {each.experiment_id: each.name for each in view._client.search_experiments()}
    by_run = {each.data.tags.get("lbench.fingerprint"): each for each in published(mlflow_home)}
    trial, plain = (by_run[(each.spec() or {})["fingerprint"]] for each in (run, other))
    assert names[trial.info.experiment_id] == "mine"
    assert names[plain.info.experiment_id] == "runs"
    assert trial.data.tags["lbench.trial"] == "3"
    assert trial.data.tags["lbench.study"] == "mine"
    assert trial.data.tags["lbench.role"] == "trial"
    assert "lbench.trial" not in plain.data.tags


def test_a_run_of_two_studies_is_shown_once_with_both(mlflow_home: Home) -> None:
    run = write_run(mlflow_home, 0)
    join(mlflow_home, member(run), member(run, "other", trial=5))
    sync(mlflow_home, metrics)
    (shown,) = [each for each in published(mlflow_home) if "lbench.attempt" in each.data.tags]
    assert set(shown.data.tags["lbench.study"].replace(",", " ").split()) == {"mine", "other"}
    assert set(shown.data.tags["lbench.trial"].replace(",", " ").split()) == {"3", "5"}
