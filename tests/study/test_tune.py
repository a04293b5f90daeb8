"""``lbench tune`` as a user meets it: what it prints, reports, and goes on with."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from lbench.home import Home
from lbench.rundir import RunDir
from tests.study.helper import ALONE, Said, home_with_store, lbench

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
    """What ``lbench tune`` has done."""

    home: Home
    rule: Path
    words: list[str]
    said: Said

    @property
    def name(self) -> str:
        """The name of the study that it printed."""
        found = re.search(r"^Tuning smooth on digits: (tune-\S+)$", self.said.err, re.MULTILINE)
        assert found is not None
        return found[1]

    @property
    def there(self) -> list[str]:
        """Options that say where it is."""
        return ["--plugin", str(self.rule), "--home", str(self.home.root)]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Tuned:
    folder = tmp_path_factory.mktemp("tuned")
    rule = folder / "smooth.py"
    rule.write_text(RULE)
    home = home_with_store(folder / "home", template)
    words = ["tune", "--rule", "smooth", "--dataset", "digits", "--epochs", "2", "--trials", "3",
             "--seeds", "2", *ALONE]  # fmt: skip
    found = Tuned(home, rule, words, Said(0, "", ""))
    found.said = lbench(*words, *found.there)
    return found


def test_a_search_of_tune_is_reported_by_the_name_that_was_printed(tuned: Tuned) -> None:
    reported = lbench("report", tuned.name, *tuned.there)
    assert reported.code == 0, reported.err
    assert reported.out == tuned.said.out
    assert reported.out.splitlines()[-1].startswith("lbench run --rule smooth --dataset digits ")
    assert lbench("study", tuned.name, "--collect", *tuned.there).out == tuned.said.out
    for words in (["report", tuned.name], ["study", tuned.name, "--collect"]):
        content = lbench(*words, *tuned.there, "--json").json
        assert Path(content["report"]).parent.name == tuned.name


def test_tune_has_a_status_and_collects(tuned: Tuned) -> None:
    before = sorted(tuned.home.runs.glob("*/*/*"))
    (row,) = lbench(*tuned.words, *tuned.there, "--status", "--json").json["points"]
    assert (row["wanted"], sum(row["trials"].values())) == (3, 3)
    for words in (tuned.words, ["study", tuned.name]):
        shown = lbench(*words, *tuned.there, "--status")
        assert (shown.code, "Nobody runs it now" in shown.out) == (0, False)
        assert "smooth/digits/mlp" in shown.out
    collected = lbench(*tuned.words, *tuned.there, "--collect")
    assert collected.out == tuned.said.out
    assert sorted(tuned.home.runs.glob("*/*/*")) == before


def test_a_search_of_tune_goes_on_with_tune_alone(tuned: Tuned) -> None:
    said = lbench("study", tuned.name, *tuned.there)
    assert said.code == 2
    assert "It goes on with: lbench tune --rule smooth --dataset digits --epochs 2" in said.err


def test_a_search_of_tune_that_is_not_there_is_told_with_the_nearest(
    tuned: Tuned, tmp_path: Path
) -> None:
    near = f"{tuned.name[:-1]}x"
    said = lbench("report", near, *tuned.there)
    assert (said.code, f"Did you mean {tuned.name}?" in said.err) == (2, True)
    elsewhere = lbench("report", tuned.name, "--home", str(tmp_path / "none"))
    assert elsewhere.code == 2
    assert f"Searches of lbench tune in {tmp_path / 'none'}: none." in elsewhere.err
    never = lbench(*tuned.words, "--status", "--plugin", str(tuned.rule), "--home",
                   str(tmp_path / "none"))  # fmt: skip
    assert "Run it with: lbench tune --rule smooth --dataset digits" in never.out
    assert not (tmp_path / "none").exists()


def test_a_search_of_tune_whose_plan_is_gone_says_what_makes_it_again(
    tuned: Tuned, tmp_path: Path
) -> None:
    home = shutil.copytree(tuned.home.root, tmp_path / "home")
    plan_file = home / "studies" / tuned.name / "plan.json"
    plan_file.unlink()
    said = lbench("report", tuned.name, "--plugin", str(tuned.rule), "--home", str(home))
    assert said.code == 1
    assert f"{plan_file} is not there" in said.err
    assert "Run lbench tune again with the same options" in said.err


def test_what_tune_says_of_the_defaults_is_in_its_answer(tuned: Tuned) -> None:
    content = lbench(*tuned.words, *tuned.there, "--json").json
    ((best,), answer) = (content["best"], content["answer"])
    assert content["trained"] == 0
    assert answer["data"]["searches"][0]["defaults"] == best["defaults"]
    assert "default" in answer["sentence"]
    assert best["val_error"] <= best["defaults"]["val_error"]


def test_what_tune_prints_is_a_run_that_is_there(tuned: Tuned) -> None:
    said, home = tuned.said, tuned.home
    assert said.code == 0, said.err
    *_, line = said.out.strip().splitlines()
    program, *typed = shlex.split(line)
    assert program == "lbench"
    assert f"--plugin {tuned.rule}" in line
    before = {run.path for run in map(RunDir, home.runs.glob("*/*"))}
    (run,) = lbench(*typed, "--json").json["runs"]
    assert Path(run["run_dir"]) in before
    assert run["status"] == "finished"
