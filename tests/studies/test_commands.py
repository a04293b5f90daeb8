"""``lbench study`` on the command line."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from lbench.errors import LbenchError
from lbench.execute.pool import Pool
from lbench.execute.writer import Writer
from lbench.home import Home
from lbench.registry import registry
from lbench.rundir import RunDir
from lbench.studies.collection import collect_results
from lbench.studies.definition import Arm, Search
from lbench.studies.ledger import write_ledger
from lbench.studies.plan import plan
from lbench.studies.runner import Runner
from lbench.studies.settings import request
from lbench.training.resolve import resolve
from tests.studies.helper import ALONE, home_with_store, lbench, study


@pytest.fixture
def home(tmp_path: Path, template: Path) -> Home:
    return home_with_store(tmp_path / "home", template)


def file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(f'title = "Mine"\nquestion = "Which?"\ndatasets = ["digits"]\n{text}')
    return str(path)


def test_a_timeout_stops_a_study_and_the_output_says_how_to_continue(
    home: Home, tmp_path: Path
) -> None:
    name = file(tmp_path, 'rules = ["bp"]\nseeds = 2\n[set]\nepochs = 40\n"net.widths" = [20]')
    words = ["study", name, "--home", str(home.root), *ALONE]
    first = lbench(*words, "--max-hours", "0.00003", "--json")
    assert first.code == 7
    assert "Stopped (timeout). The same command continues from there." in first.err
    content = first.json
    assert (content["complete"], content["stopped"], content["report"]) == (False, "timeout", None)
    assert (
        "No process is running it. Continue it with: lbench study" in lbench(*words, "--status").out
    )


def test_workers_honour_omp_num_threads(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    name = file(tmp_path, 'rules = ["bp"]\nseeds = 1\n[set]\nexamples = 64')
    words = ["--workers", "1", "--device", "cpu", "--home", str(home.root)]
    result = lbench("study", name, *words)
    assert result.code == 0, result.err
    (path,) = home.runs.glob("*/seed-*")
    assert (RunDir(path).spec() or {})["environment"]["threads"] == 2


def test_a_study_without_a_finished_run_reports_why(home: Home, tmp_path: Path) -> None:
    explodes = 'epochs = 5\nlr = 100.0\noptimizer = "sgd"\nweight_decay = 1.0'
    arm = f'rules = ["bp"]\nseeds = 1\n[set]\n{explodes}'
    name = file(tmp_path, arm)
    words = ["study", name, "--home", str(home.root), *ALONE]
    result = lbench(*words, "--json")
    assert result.code == 1
    content = result.json
    assert content["complete"]
    assert content["answer"]["sentence"] == "Undecided: no run has finished; 1 diverged."
    assert "diverged: " in Path(content["report"]).read_text().replace("</td><td>", ": ")
    ((key, reason),) = content["unfinished"].items()
    assert key == "bp/digits/mlp seed 0"
    assert reason.startswith("diverged: ")
    reported = lbench("report", name, "--home", str(home.root))
    assert reported.code == 0
    assert "Undecided: no run has finished; 1 diverged." in reported.out
    assert "diverged" in lbench(*words, "--status").out


def test_a_search_without_a_complete_trial_reports_it_every_time(
    home: Home, tmp_path: Path
) -> None:
    search = 'rules = ["bp"]\nkind = "search"\n[set]\nepochs = 3\noptimizer = "sgd"\n'
    search += (
        "lr = 100.0\nweight_decay = 1.0\n[search]\ntrials = 2\n[search.space]\nbatch = [16, 32]"
    )
    name = file(tmp_path, search)
    words = ["study", name, "--home", str(home.root), *ALONE, "--json"]
    for _ in range(2):
        result = lbench(*words)
        assert result.code == 1
        assert result.json["unfinished"] == {"bp/digits/mlp": "no trial of its search is complete"}
        assert "no trial of bp/digits/mlp is complete (2 of 2" in result.json["answer"]["sentence"]


class Quiet:
    """A display that keeps the notes and ignores everything else."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def search(self, key: str, ended: int, wanted: int, best: float | None) -> None: ...

    def final(self, key: str, ended: int, wanted: int) -> None: ...

    def run(self, name: str, done: int, steps: int, left: float | None = None) -> None: ...

    def over(self, name: str) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_study_waits_for_a_run_that_another_process_trains(home: Home) -> None:
    small_plan = plan(study(Arm("bp", settings={"epochs": 1, "net.widths": [20]})), registry())
    (point,) = small_plan.points
    cell = resolve(request(point, registry(), "paper"), registry()).cell
    display, lock = Quiet(), contextlib.ExitStack()
    lock.enter_context(RunDir(home.runs / cell.slug / "seed-0").locked())

    def note(text: str) -> None:
        display.notes.append(text)
        # At the second attempt; the first was not counted as a failure of the run.
        if len(display.notes) == 2:
            lock.close()

    display.note = note  # type: ignore[method-assign]
    with (
        Writer(home, pytest.fail) as writer,
        Pool(home, ["cpu"], threads=1, patience=1.0) as pool,
    ):
        ending = Runner(small_plan, home, registry(), writer, display).run(pool, timeout=60)
    assert len(display.notes) == 2
    assert all("Another process is training this run" in text for text in display.notes)
    assert (ending.complete, ending.trained, ending.unfinished) == (True, 1, {})


def test_points_with_the_same_configuration_share_one_run(home: Home) -> None:
    arms = (Arm("bp", name) for name in ("one", "other"))
    small_plan = plan(study(*arms, settings={"epochs": 2, "net.widths": [20]}), registry())
    display = Quiet()
    with (
        Writer(home, pytest.fail) as writer,
        Pool(home, ["cpu", "cpu"], threads=1) as pool,
    ):
        ending = Runner(small_plan, home, registry(), writer, display).run(pool)
    assert (ending.complete, ending.trained) == (True, 1)
    assert not [text for text in display.notes if "Another process" in text]


def test_an_error_of_the_system_stops_a_study_without_failing_a_trial(home: Home) -> None:
    searched = study(
        Arm("bp", settings={"epochs": 1, "net.widths": [20], "weight_decay": 0.0}),
        search=Search(sampler="grid", only=(), space={"lr": (0.01,), "optimizer": ("adam",)}),
    )
    small_plan = plan(searched, registry())
    (point,) = small_plan.points
    chosen = {"lr": 0.01, "optimizer": "adam"}
    cell = resolve(request(point, registry(), "strict", chosen), registry()).cell
    blocking_file = home.runs / cell.slug
    home.runs.mkdir()
    blocking_file.touch()
    with Writer(home, pytest.fail) as writer:
        runner = Runner(small_plan, home, registry(), writer, Quiet())
        with (
            Pool(home, ["cpu"], threads=1) as pool,
            pytest.raises(LbenchError, match=str(blocking_file)) as raised,
        ):
            runner.run(pool)
        assert "the same command continues" in raised.value.hint
        blocking_file.unlink()
        again = Runner(small_plan, home, registry(), writer, Quiet())
        with Pool(home, ["cpu"], threads=1) as pool:
            ending = again.run(pool)
    assert (ending.complete, ending.trained) == (
        True,
        3,
    )  # the third run has the defaults, with another learning rate
    write_ledger(home, small_plan, "")
    (search,) = collect_results(searched, home).searches
    assert [(trial.number, trial.state) for trial in search.trials] == [(0, "complete")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["study", "leadershp"], "Did you mean leadership"),
        (["study", "none.toml"], "There is no study file none.toml."),
        (["study", "leadership", "--sampler", "tep"], "Did you mean tpe?"),
        (["study", "leadership", "--objectives", "val_eror"], "Did you mean val_error?"),
        (["study", "leadership", "--objectives", "step_ms"], "first objective must be val_error"),
        (["study", "screen", "--trials", "3"], "Study screen is a grid"),
        (["study", "lambda", "--trials", "3"], "The sampler grid tries every combination once"),
        (["study", "leadership", "--datasets", ","], "the list has no name"),
        (["study", "leadership", "--datasets", "digts"], "Did you mean digits"),
        (["study", "leadership", "--rules", "lfnnl"], "Did you mean lfnn_l"),
        (["tune", "--rule", "bp", "--dataset", "digits", "--only", "lamda"], "lamda"),
        (["tune", "--rule", "bp", "--dataset", "digits", "--set", "epochs=few"], "whole number"),
        (["tune", "--rule", "bp", "--dataset", "digits", "--set", "epochs=²"], "whole number"),
        (
            ["tune", "--rule", "bp", "--dataset", "digits", "--set", "epochs=2", "--epochs", "2"],
            "--epochs and --set epochs are the same",
        ),
        (
            ["tune", "--rule", "lfnn_l", "--dataset", "digits", "--set", "lam=1", "--only", "lam"],
            "lam cannot be searched: it is set",
        ),
        (["report", "screen"], "Study screen has no finished run"),
        (["study", "screen", "--collect"], "Run it with: lbench study screen"),
    ],
)
def test_an_invalid_command_is_an_error_and_creates_no_home(
    words: list[str], message: str, tmp_path: Path
) -> None:
    home = tmp_path / "none"
    done = lbench(*words, "--home", str(home))
    assert done.code == 2
    assert message in done.err
    assert not home.exists()
    error = json.loads(lbench(*words, "--home", str(home), "--json").out)["error"]
    assert error["kind"] == "usage"


def test_a_missing_dataset_is_an_error_before_anything_runs(tmp_path: Path) -> None:
    home = tmp_path / "none"
    words = ["study", "screen", "--datasets", "imagefolder", "--home", str(home)]
    done = lbench(*words, "--data-dir", str(tmp_path))
    assert done.code == 3
    assert "Dataset 'imagefolder' was not found" in done.err
    assert not home.exists()


def test_a_study_that_was_never_run_has_a_status(tmp_path: Path) -> None:
    name = file(tmp_path, 'rules = ["bp"]')
    result = lbench("study", name, "--status", "--home", str(tmp_path / "none"))
    assert result.code == 0
    assert f"Run it with: lbench study {name}" in result.out


@pytest.mark.parametrize(
    "words",
    [["report", "screen"], ["study", "screen", "--collect"], ["study", "screen", "--status"]],
)
def test_the_command_that_runs_a_study_names_the_home(words: list[str], tmp_path: Path) -> None:
    result = lbench(*words, "--home", str(tmp_path / "none"))
    assert f"lbench study screen --home {tmp_path / 'none'}" in result.out + result.err


def test_a_study_of_more_than_two_hours_needs_a_confirmation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lbench.cli.study.CONFIRM_ABOVE", 0.001)
    name = file(tmp_path, 'rules = ["bp"]')
    result = lbench("study", name, "--device", "cpu", "--home", str(tmp_path / "none"))
    assert result.code == 2
    assert "Give --yes to start it" in result.err
    assert not (tmp_path / "none").exists()


def test_a_study_in_a_file_is_found_by_the_path_of_the_file_only(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home.studies / "mine").mkdir(parents=True)
    words = ["report", "mine", "--home", str(home.root)]
    result = lbench(*words)
    assert result.code == 2
    assert f"'mine' was run in {home.root} from a file of its own" in result.err
    file(tmp_path, 'rules = ["bp"]')
    monkeypatch.chdir(tmp_path)
    assert "Did you mean the file mine.toml?" in lbench(*words).err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--max-hours", "nan"), "'--max-hours': it must be a number."),
        (("--timeout", "nan"), "'--timeout': it must be a number."),
        (("--max-hours", "0"), "0.0 is not in the range x>0."),
        (("--max-hours", "1", "--timeout", "3"), "are the same; give one of them."),
    ],
)
def test_a_limit_of_time_is_one_positive_number(words: tuple[str, ...], message: str) -> None:
    refused = lbench("tune", "--rule", "bp", "--dataset", "digits", *words)
    assert refused.code == 2
    assert message in refused.err
