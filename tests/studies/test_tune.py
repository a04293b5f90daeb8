"""``lbench tune`` on the command line: its output, its reports and its continuation."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from lbench.home import Home
from lbench.rundir import RunDir
from tests.studies.helper import ALONE, Output, home_with_store, lbench

RULE = '''
from torch import nn

from lbench import LocalRule, RuleConfig, param, spatial_mean


class Smooth(LocalRule):
    """Heads with smoothed targets."""

    class Config(RuleConfig):
        smoothing: float = param(0.0, low=0.0, high=0.3, step=0.1)

    def build(self, init):
        blocks = enumerate(self.network.blocks)
        self.heads = nn.ModuleList(
            init.linear(f"head{k}", b.width, self.task.classes) for k, b in blocks
        )

    def loss(self, v, s):
        z = self.heads[v.k](spatial_mean(v.h))
        return nn.functional.cross_entropy(z, v.target, label_smoothing=self.config.smoothing)
'''


@dataclass
class Tuned:
    """A completed search of ``lbench tune``."""

    home: Home
    rule: Path
    words: list[str]
    output: Output

    @property
    def name(self) -> str:
        """Return the name of the study that the command printed."""
        match = re.search(r"^Tuning smooth on digits: (tune-\S+)$", self.output.err, re.MULTILINE)
        assert match is not None
        return match[1]

    @property
    def location(self) -> list[str]:
        """Return the options for the plugin and the home."""
        return ["--plugin", str(self.rule), "--home", str(self.home.root)]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Tuned:
    folder = tmp_path_factory.mktemp("tuned")
    rule = folder / "smooth.py"
    rule.write_text(RULE)
    home = home_with_store(folder / "home", template)
    words = ["tune", "--rule", "smooth", "--dataset", "digits", "--epochs", "2", "--trials", "3",
             "--seeds", "2", *ALONE]  # fmt: skip
    search = Tuned(home, rule, words, Output(0, "", ""))
    search.output = lbench(*words, *search.location)
    return search


def test_a_search_of_tune_is_reported_under_the_printed_name(tuned: Tuned) -> None:
    reported = lbench("report", tuned.name, *tuned.location)
    assert reported.code == 0, reported.err
    assert reported.out == tuned.output.out
    assert reported.out.splitlines()[-1].startswith("lbench run --rule smooth --dataset digits ")
    assert lbench("study", tuned.name, "--collect", *tuned.location).out == tuned.output.out
    for words in (["report", tuned.name], ["study", tuned.name, "--collect"]):
        content = lbench(*words, *tuned.location, "--json").json
        assert Path(content["report"]).parent.name == tuned.name


def test_tune_has_a_status_and_a_report_at_any_time(tuned: Tuned) -> None:
    before = sorted(tuned.home.runs.glob("*/*/*"))
    (row,) = lbench(*tuned.words, *tuned.location, "--status", "--json").json["points"]
    assert (row["wanted"], sum(row["trials"].values())) == (3, 3)
    for words in (tuned.words, ["study", tuned.name]):
        status = lbench(*words, *tuned.location, "--status")
        assert (status.code, "No process runs it now" in status.out) == (0, False)
        assert "smooth/digits/mlp" in status.out
    collected = lbench(*tuned.words, *tuned.location, "--collect")
    assert collected.out == tuned.output.out
    assert sorted(tuned.home.runs.glob("*/*/*")) == before


def test_a_search_of_tune_is_continued_by_tune_only(tuned: Tuned) -> None:
    output = lbench("study", tuned.name, *tuned.location)
    assert output.code == 2
    assert "Continue it with: lbench tune --rule smooth --dataset digits --epochs 2" in output.err


def test_the_error_for_an_unknown_search_of_tune_has_the_most_similar_name(
    tuned: Tuned, tmp_path: Path
) -> None:
    near = f"{tuned.name[:-1]}x"
    output = lbench("report", near, *tuned.location)
    assert (output.code, f"Did you mean {tuned.name}?" in output.err) == (2, True)
    elsewhere = lbench("report", tuned.name, "--home", str(tmp_path / "none"))
    assert elsewhere.code == 2
    assert f"Searches of lbench tune in {tmp_path / 'none'}: none." in elsewhere.err
    never = lbench(*tuned.words, "--status", "--plugin", str(tuned.rule), "--home",
                   str(tmp_path / "none"))  # fmt: skip
    assert "Run it with: lbench tune --rule smooth --dataset digits" in never.out
    assert not (tmp_path / "none").exists()


def test_the_error_for_a_search_of_tune_without_a_plan_has_a_remedy(
    tuned: Tuned, tmp_path: Path
) -> None:
    home = shutil.copytree(tuned.home.root, tmp_path / "home")
    plan_file = home / "studies" / tuned.name / "plan.json"
    plan_file.unlink()
    output = lbench("report", tuned.name, "--plugin", str(tuned.rule), "--home", str(home))
    assert output.code == 1
    assert f"{plan_file} does not exist" in output.err
    assert "Run lbench tune again with the same options" in output.err


def test_the_answer_of_tune_compares_with_the_defaults(tuned: Tuned) -> None:
    content = lbench(*tuned.words, *tuned.location, "--json").json
    ((best,), answer) = (content["best"], content["answer"])
    assert content["trained"] == 0
    assert answer["data"]["searches"][0]["defaults"] == best["defaults"]
    assert "default" in answer["sentence"]
    assert best["val_error"] <= best["defaults"]["val_error"]


def test_the_command_that_tune_prints_is_an_existing_run(tuned: Tuned) -> None:
    output, home = tuned.output, tuned.home
    assert output.code == 0, output.err
    *_, line = output.out.strip().splitlines()
    program, *typed = shlex.split(line)
    assert program == "lbench"
    assert f"--plugin {tuned.rule}" in line
    before = {run.path for run in map(RunDir, home.runs.glob("*/*"))}
    (run,) = lbench(*typed, "--json").json["runs"]
    assert Path(run["run_dir"]) in before
    assert run["status"] == "finished"
