"""The memberships of runs in studies: in their file, the record, and MLflow's tags."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lbench.home import Home
from lbench.rundir import RunDir
from lbench.store.memberships import Memberships
from lbench.store.mlflow_view import MlflowView
from lbench.store.record import Record
from lbench.store.rows import Member
from lbench.store.sync import sync
from tests.store.helper import cell_spec, write_run


def member(run_dir: RunDir, study: str = "first", **changes: Any) -> Member:
    spec = run_dir.spec() or {}
    membership = Member(
        study, "lfnn_l/mnist/mlp", "trial", 3, spec["seed"], spec["cell"], spec["fingerprint"]
    )
    return replace(membership, **changes)


def join(home: Home, *members: Member) -> None:
    for membership in members:
        Memberships(home, membership.study).add(membership)


def test_a_membership_is_written_once_and_can_name_another_run(home: Home) -> None:
    first = member(write_run(home))
    memberships = Memberships(home, "first")
    assert memberships.add(first)
    assert not memberships.add(first)
    assert not Memberships(home, "first").add(first)
    moved = replace(first, run="another")
    assert memberships.add(moved)
    assert list(memberships.read()) == [first, moved]
    assert memberships.add(first)  # and back


def test_an_incomplete_line_loses_only_itself(home: Home) -> None:
    members = [member(write_run(home, seed)) for seed in range(3)]
    join(home, *members[:2])
    path = Memberships(home, "first").path
    path.write_bytes(path.read_bytes()[:-20])
    again = Memberships(home, "first")
    assert list(again.read()) == members[:1]
    again.add(members[2])
    assert list(Memberships(home, "first").read()) == [members[0], members[2]]


def test_sync_rebuilds_the_memberships_of_a_lost_record(home: Home) -> None:
    runs = [write_run(home, seed) for seed in range(2)]
    members = [member(run) for run in runs] + [member(runs[0], "other", role="final", trial=-1)]
    join(home, *members)
    sync(home, mlflow=False)
    for file in home.root.glob("store.db*"):
        file.unlink()
    sync(home, mlflow=False)
    with Record.open(home) as record:
        assert record.members(study="first") == members[:2]
        assert record.members(study="other") == members[2:]
        assert set(record.members(cell=members[0].cell)) == set(members)


def test_a_membership_replaces_the_one_with_the_same_key(home: Home) -> None:
    first = member(write_run(home))
    with Record.open(home) as record:
        record.join([first])
        record.join([replace(first, run="another")])
        assert [row.run for row in record.members(study="first")] == ["another"]


def published(home: Home) -> list[Any]:
    view = MlflowView(home)
    return list(view._client.search_runs(view.experiments()))


def test_a_study_has_an_experiment_and_trials_have_numbers(mlflow_home: Home) -> None:
    run = write_run(mlflow_home, 0)
    other = write_run(mlflow_home, 0, spec=cell_spec(leadership=0.3))
    join(mlflow_home, member(run))
    sync(mlflow_home)
    view = MlflowView(mlflow_home)
    names = {found.experiment_id: found.name for found in view._client.search_experiments()}
    by_run = {found.data.tags.get("lbench.fingerprint"): found for found in published(mlflow_home)}
    trial, plain = (by_run[(run_dir.spec() or {})["fingerprint"]] for run_dir in (run, other))
    assert names[trial.info.experiment_id] == "first"
    assert names[plain.info.experiment_id] == "runs"
    assert trial.data.tags["lbench.trial"] == "3"
    assert trial.data.tags["lbench.study"] == "first"
    assert trial.data.tags["lbench.role"] == "trial"
    assert "lbench.trial" not in plain.data.tags


def test_a_run_of_two_studies_has_one_mlflow_run_with_both_tags(mlflow_home: Home) -> None:
    run = write_run(mlflow_home, 0)
    join(mlflow_home, member(run), member(run, "other", trial=5))
    sync(mlflow_home)
    (shown,) = [found for found in published(mlflow_home) if "lbench.attempt" in found.data.tags]
    assert set(shown.data.tags["lbench.study"].replace(",", " ").split()) == {"first", "other"}
    assert set(shown.data.tags["lbench.trial"].replace(",", " ").split()) == {"3", "5"}
