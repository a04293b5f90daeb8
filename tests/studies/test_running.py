"""A study is run by real processes: one is killed, one is interrupted, one completes it."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sqlite3
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from lbench.errors import StoreError
from lbench.home import Home
from lbench.registry import registry
from lbench.rundir import RunDir
from lbench.store.memberships import Memberships
from lbench.store.mlflow_view import MlflowView
from lbench.store.record import Record
from lbench.store.run_dirs import run_dirs
from lbench.store.sync import sync
from lbench.studies.collection import collect_results
from lbench.studies.lookup import find_study
from lbench.studies.results import StudyData
from tests.studies.helper import ALONE, Output, home_with_store, interrupted, killed, lbench

# What this takes part of, the other tests of the room show to be covered.
pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.no_cover]

SEARCH = """
title = "Small"
question = "Which rule is better?"
datasets = ["digits"]
rules = ["lfnn_l", "bp"]
protocol = "strict"
seeds = 2

[set]
epochs = 6
"net.widths" = [20]

[search]
trials = 5
only = ["leadership"]
"""
TRIALS = 5


@dataclass
class Survived:
    """A study that was killed, interrupted and then completed."""

    home: Home
    words: list[str]
    locked: Output
    status: Output
    interrupted: Output
    between: Output
    ended: Output

    @property
    def results(self) -> StudyData:
        return collect_results(find_study(self.words[1], registry()), self.home)

    @property
    def runs(self) -> int:
        """Return the number of runs: trials, final runs, and runs of defaults not chosen."""
        compared = sum(search.defaults is not None for search in self.results.searches)
        return 2 * (TRIALS + 2) + 2 * compared

    def copy(self, to: Path) -> Home:
        shutil.copytree(self.home.root, to)
        return Home(to)


@pytest.fixture(scope="module")
def survived(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Survived:
    folder = tmp_path_factory.mktemp("survived")
    (folder / "small.toml").write_text(SEARCH)
    home = home_with_store(folder / "home", template)
    words = ["study", str(folder / "small.toml"), "--home", str(home.root), "--device", "cpu"]

    def memberships() -> int:
        return len(list(Memberships(home, "small").read()))

    locked, status = [], []

    def meanwhile() -> None:
        locked.append(lbench(*words, *ALONE))
        status.append(lbench(*words, "--status", "--json"))

    code = killed([*words, "--workers", "2"], lambda: memberships() >= 3, meanwhile)
    assert code == -signal.SIGKILL
    words += ALONE
    before = memberships()
    stopped = interrupted(words, lambda: memberships() >= before + 2)
    between = lbench(*words, "--status")
    ended = lbench(*words, "--json")
    return Survived(home, words, locked[0], status[0], stopped, between, ended)


def test_every_search_has_exactly_its_trials_and_each_has_ended(survived: Survived) -> None:
    assert len(survived.results.searches) == 2
    for search in survived.results.searches:
        assert [trial.number for trial in search.trials] == list(range(TRIALS))
        assert {trial.state for trial in search.trials} <= {"complete", "pruned", "fail"}
        assert len({str(trial.params) for trial in search.trials}) == TRIALS


def test_no_run_was_trained_twice(survived: Survived) -> None:
    runs = list(run_dirs(survived.home))
    for run_dir in runs:
        epochs = [row["epoch"] for row in run_dir.epochs()]
        assert epochs == list(range(1, len(epochs) + 1))
    specs = [run_dir.spec() or {} for run_dir in runs]
    assert {spec["attempt"] for spec in specs} == {1}
    assert len({spec["fingerprint"] for spec in specs}) == len(runs) == survived.runs


def test_every_trial_has_one_mlflow_run_with_its_number(survived: Survived) -> None:
    view = MlflowView(survived.home)
    names = {
        experiment.experiment_id: experiment.name
        for experiment in view._client.search_experiments()
    }
    runs = list(view._client.search_runs(view.experiments()))
    assert {names[run.info.experiment_id] for run in runs} == {"small"}
    tags = [run.data.tags for run in runs if run.data.tags["lbench.kind"] == "run"]
    trials = [tag for tag in tags if tag["lbench.role"] == "trial"]
    for search in survived.results.searches:
        numbers = [t["lbench.trial"] for t in trials if t["lbench.point"] == search.point.key]
        assert sorted(numbers) == [str(number) for number in range(TRIALS)]
    assert len([tag for tag in tags if tag["lbench.role"] == "final"]) == 4
    assert {tag["lbench.status"] for tag in tags} <= {"finished", "pruned", "diverged"}


def test_the_best_is_trained_again_with_fresh_seeds_and_tested_once(survived: Survived) -> None:
    results = survived.results
    assert not results.missing
    for search, final in zip(results.searches, results.finals, strict=True):
        assert search.best is not None
        assert final.chosen == search.best.params
        assert [run.seed for run in final.runs] == [1000, 1001]
        assert all(run.test_error is not None for run in final.runs)
        trained = [run for trial in search.trials for run in trial.runs]
        assert [run.test_reads for run in trained] == [0] * TRIALS
        assert all(run.test_error is None for run in trained)


def test_the_defaults_are_trial_0_and_are_compared_with_the_choice_seed_by_seed(
    survived: Survived,
) -> None:
    for search, best in zip(survived.results.searches, survived.ended.json["best"], strict=True):
        first, *others = search.trials
        assert first.defaults
        assert not any(trial.defaults for trial in others)
        # The weight decay of 0 is outside the search space.
        assert (first.params["lr"], first.params["weight_decay"]) == (0.003, 0.0)
        assert first.state == "complete"
        assert search.best is not None
        assert search.best.values <= first.values
        if search.best.defaults:
            assert search.defaults is None
            assert best["defaults"]["chosen"]
            continue
        assert search.defaults is not None
        assert [run.seed for run in search.defaults.runs] == [1000, 1001]
        difference = best["defaults"]["difference"]["points"]
        (final,) = [f for f in survived.results.finals if f.point.key == search.point.key]
        pairs = zip(final.runs, search.defaults.runs, strict=True)
        differences = [one.test_error - other.test_error for one, other in pairs]
        assert difference["n"] == 2
        assert difference["mean"] == pytest.approx(sum(differences) / 2)


def test_the_best_has_the_lowest_validation_error_and_is_one_of_the_indistinguishable(
    survived: Survived,
) -> None:
    for search in survived.results.searches:
        values = [trial.values[0] for trial in search.trials if trial.values]
        assert search.best is not None
        assert search.best.values == (min(values),)
        assert search.best.number in [trial.number for trial in search.indistinguishable]
        assert search.validation == 143


def test_a_second_driver_is_refused_and_the_error_names_the_first(survived: Survived) -> None:
    assert survived.locked.code == 1
    assert "Another process is running study small: process " in survived.locked.err
    driver = survived.status.json["driver"]
    assert f"process {driver['pid']} on {driver['host']}" in survived.locked.err


def test_an_interrupted_study_says_how_to_continue(survived: Survived) -> None:
    assert survived.interrupted.code == 130
    assert "Stopping: runs write their checkpoints." in survived.interrupted.err
    said = survived.interrupted.err
    assert "Stopped (interrupted). The same command continues from there." in said
    assert "No process is running it. Continue it with: lbench study " in survived.between.out


def test_a_status_counts_trials_and_final_runs(survived: Survived) -> None:
    (first, second) = survived.status.json["points"]
    assert (first["wanted"], second["wanted"]) == (TRIALS, TRIALS)
    assert sum(first["trials"].values()) + sum(second["trials"].values()) >= 3
    now = lbench(*survived.words, "--status", "--json").json
    assert now["driver"] is None
    assert [point["final_runs"] for point in now["points"]] == [{"finished": 2}] * 2
    out = lbench(*survived.words, "--status").out
    assert "lfnn_l/digits/mlp" in out
    assert "No process runs it now" not in out


def test_a_completed_study_prints_one_json_document(survived: Survived) -> None:
    output = survived.ended
    assert output.code == 0
    content = output.json
    assert (content["study"], content["complete"], content["stopped"]) == ("small", True, None)
    assert content["unfinished"] == {}
    assert Path(content["report"]).is_file()
    assert len(content["cells"]) == 2
    for search, best in zip(survived.results.searches, content["best"], strict=True):
        assert search.best is not None
        assert (best["trial"], best["params"]) == (search.best.number, search.best.params)
        assert best["command"].startswith(f"lbench run --rule {search.point.rule} ")


def test_a_report_can_be_made_at_any_time_without_a_run(survived: Survived) -> None:
    before = sorted(survived.home.runs.glob("*/*/*"))
    collected = lbench(*survived.words, "--collect", "--json").json
    ended = survived.ended.json
    assert collected.items() <= ended.items()
    assert sorted(survived.home.runs.glob("*/*/*")) == before


def test_a_report_uses_the_changes_of_the_last_command_line(
    survived: Survived, tmp_path: Path
) -> None:
    home = survived.copy(tmp_path / "home")
    study = find_study(survived.words[1], registry())
    assert collect_results(study, home).study.seeds == 2
    path = home.studies / "small" / "plan.json"
    content = json.loads(path.read_text())
    content["changes"] |= {"seeds": 7, "trials": 9}
    path.write_text(json.dumps(content))
    changed = collect_results(study, home).study
    assert changed.search is not None
    assert (changed.seeds, changed.search.trials) == (7, 9)
    # They do not apply to another version of the file.
    other = replace(study, version="other")
    assert collect_results(other, home).study == other


def test_a_lost_store_is_rebuilt_with_every_membership(survived: Survived, tmp_path: Path) -> None:
    home = survived.copy(tmp_path / "home")
    study = find_study(survived.words[1], registry())
    before = collect_results(study, home)
    for file in home.root.glob("store.db*"):
        file.unlink()
    with pytest.raises(StoreError, match="is missing") as error:
        collect_results(study, home)
    assert f"lbench sync --home {home.root}" in error.value.hint
    sync(home, mlflow=False)
    after = collect_results(study, home)
    assert [final.cell.cell_id for final in after.finals] == [
        final.cell.cell_id for final in before.finals
    ]
    for one, other in zip(before.searches, after.searches, strict=True):
        assert [trial.cell for trial in one.trials] == [trial.cell for trial in other.trials]
        assert len(one.indistinguishable) == len(other.indistinguishable)


def test_a_run_that_is_not_in_the_record_yet_is_ignored(survived: Survived, tmp_path: Path) -> None:
    home = survived.copy(tmp_path / "home")
    member = next(iter(Memberships(home, "small").read()))
    Memberships(home, "small").add(replace(member, trial=99, cell="0" * 64, run="1" * 64))
    Memberships(home, "small").add(
        replace(member, role="final", trial=-1, cell="0" * 64, run="1" * 64)
    )
    results = collect_results(find_study(survived.words[1], registry()), home)
    assert len(results.searches[0].trials) == TRIALS


def test_a_search_does_not_show_trials_of_an_older_one(survived: Survived, tmp_path: Path) -> None:
    home = survived.copy(tmp_path / "home")
    study = find_study(survived.words[1], registry())
    before = collect_results(study, home)
    (final, trial) = (
        next(member for member in Memberships(home, "small").read() if member.role == role)
        for role in ("final", "trial")
    )
    for member in (final, trial):
        Memberships(home, "small").add(replace(member, search="0" * 8, cell="0" * 64, run="1" * 64))
    after = collect_results(study, home)
    assert [f.runs for f in after.finals] == [f.runs for f in before.finals]
    assert [[t.runs for t in s.trials] for s in after.searches] == [
        [t.runs for t in s.trials] for s in before.searches
    ]


def test_the_output_for_a_changed_file_mentions_the_earlier_version(
    survived: Survived, tmp_path: Path
) -> None:
    home = survived.copy(tmp_path / "home")
    path = tmp_path / "small.toml"
    words = ["study", str(path), "--home", str(home.root), "--status"]
    path.write_text(SEARCH.replace("Small", "Other words"))
    assert "lfnn_l/digits/mlp" in lbench(*words).out
    path.write_text(SEARCH.replace("epochs = 6", "epochs = 7"))
    output = lbench(*words).out
    assert "has no runs of this version of its file" in output
    assert "Left out: 2 points of an earlier version of the file." in output
    assert (
        "2 points of an earlier version of its file left out" in lbench("report", *words[1:-1]).err
    )


def test_the_error_for_a_damaged_plan_has_a_remedy(survived: Survived, tmp_path: Path) -> None:
    home = survived.copy(tmp_path / "home")
    path = home.studies / "small" / "plan.json"
    path.write_text("{")
    output = lbench("study", survived.words[1], "--home", str(home.root), "--status")
    assert output.code == 1
    assert (
        f"Move {path} away and run the study again: finished runs are not repeated." in output.err
    )


def test_a_storage_of_another_optuna_version_is_an_error_and_no_run_is_lost(
    survived: Survived, tmp_path: Path
) -> None:
    home = survived.copy(tmp_path / "home")
    words = ["study", survived.words[1], "--home", str(home.root), "--device", "cpu"]
    with contextlib.closing(sqlite3.connect(home.root / "optuna.db")) as storage:
        storage.execute("UPDATE alembic_version SET version_num = 'v2.6.0.a'")
        storage.commit()
    for more in ((), ("--status",), ("--collect",)):
        output = lbench(*words, *more)
        assert output.code == 4
        assert "was written by another version of Optuna" in output.err
        assert "constraints.txt" in output.err
    assert len(list(run_dirs(home))) == survived.runs
    with Record.open(home) as record:
        assert len(record.members(study="small")) == survived.runs


def test_an_ended_run_is_published_to_mlflow_but_not_repeated(
    survived: Survived, tmp_path: Path
) -> None:
    home = survived.copy(tmp_path / "home")
    with contextlib.closing(sqlite3.connect(home.root / "store.db")) as store:
        store.execute("UPDATE lbench_runs SET mlflow_run_id = NULL WHERE seed = 0")
        store.commit()
    before = {path: path.stat().st_mtime_ns for path in home.runs.glob("*/*/result.json")}
    words = ["study", survived.words[1], "--home", str(home.root), "--device", "cpu"]
    again = lbench(*words, *ALONE, "--json").json
    assert (again["complete"], again["trained"]) == (True, 0)
    assert {path: path.stat().st_mtime_ns for path in home.runs.glob("*/*/result.json")} == before
    with Record.open(home) as record:
        runs = [run for cell in record.cells() for run in record.runs(cell)]
    assert all(run.mlflow_run_id for run in runs)
    assert len({run.mlflow_run_id for run in runs}) == len(runs)


def test_a_dry_run_prints_the_plan_and_creates_no_home(survived: Survived, tmp_path: Path) -> None:
    home = tmp_path / "none"
    words = ["study", survived.words[1], "--home", str(home), "--dry-run", "--device", "cpu"]
    plan = lbench(*words, "--workers", "3")
    assert plan.code == 0
    rows = [line.split() for line in plan.out.splitlines()]
    assert [row[:2] for row in rows if row and row[0].startswith(("lfnn_l/", "bp/"))] == [
        ["lfnn_l/digits/mlp", "9"],
        ["bp/digits/mlp", "9"],
    ]
    assert "CPU-hours" in plan.out
    counts = "2 points, 10 trials (tpe), 4 final runs and 4 of the defaults on digits; "
    assert f"{counts}3 worker processes on cpu." in plan.err
    content = lbench(*words, *ALONE, "--json").json
    assert (content["trials"], content["final_runs"], content["absent"]) == (10, 4, {})
    assert content["default_runs"] == 4
    assert content["seconds"] > content["points"][0]["seconds"] > 0
    assert set(content["hours"]) == {"cpu"}
    assert [point["point"] for point in content["points"]] == [
        "lfnn_l/digits/mlp",
        "bp/digits/mlp",
    ]
    assert content["points"][0]["space"]["lr"] == "0.0001 ... 0.1, logarithmic"
    assert not home.exists()


def test_without_a_name_or_with_list_the_studies_are_listed() -> None:
    listed = lbench("study", "--list", "--json").json
    assert {row["name"] for row in listed} == set(registry().studies)
    assert lbench("study", "--list").out == lbench("study").out


def test_a_status_counts_trials_by_state(survived: Survived) -> None:
    counted = lbench(*survived.words, "--status", "--json").json["points"][0]["trials"]
    states = Counter(trial.state for trial in survived.results.searches[0].trials)
    assert counted == dict(states)


def test_the_printed_command_finds_the_trial_and_reads_its_test_set(
    survived: Survived, tmp_path: Path
) -> None:
    home = survived.copy(tmp_path / "home")
    best = survived.ended.json["best"][1]
    words = [*best["command"].split()[1:], "--home", str(home.root), "--device", "cpu", "--json"]
    done = lbench(*words).json
    (run,) = done["runs"]
    assert run["val_error"] == best["val_error"]
    assert run["test_error"] is not None
    assert len(RunDir(Path(run["run_dir"])).epochs()) == 6
    assert lbench(*words).json["runs"][0]["cached"]
