"""An arm that cannot be trained is reported and does not affect the other arms of its study."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lbench.errors import UsageError
from lbench.home import Home
from lbench.registry import registry
from lbench.studies.definition import Arm, Search
from lbench.studies.equal_operations import with_budgets
from lbench.studies.plan import plan
from lbench.studies.step_costs import step_costs
from lbench.training.batches import check_batches
from tests.studies.helper import ALONE, Output, home_with_store, lbench, study
from tests.training.helper import ask

RULES = '''
import sys

from lbench import GradientRule


class Stepless(GradientRule):
    """Raises in its step."""

    def loss(self, batch, s):
        raise ValueError("no step of mine")


class Buildless(GradientRule):
    """Raises when it is built."""

    def build(self, init):
        raise KeyError("no build of mine")

    def loss(self, batch, s):
        return self.task.loss(self.network(batch.x, s), batch.target)


class Exits(GradientRule):
    """Ends the process in its step."""

    def loss(self, batch, s):
        sys.exit(0)
'''
STUDY = """
title = "Bad arms"
question = "Which?"
datasets = ["digits"]
rules = ["stepless", "buildless", "bp"]
seeds = 1

[set]
epochs = 1
"net.widths" = [20]
"net.norm" = "batch"

[axes]
batch = [128, 1]
"""


@dataclass
class BadStudy:
    """A study with bad arms that has been run, and the output of its commands."""

    name: str
    home: Home
    output: Output
    status: Output


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    file = tmp_path_factory.mktemp("rules") / "bad.py"
    file.write_text(RULES)
    registry().add_file(file)
    yield file
    registry.cache_clear()  # so that other tests of every rule do not see these rules


@pytest.fixture(scope="module")
def ran(rules: Path, tmp_path_factory: pytest.TempPathFactory, template: Path) -> BadStudy:
    folder = tmp_path_factory.mktemp("bad")
    name = str(folder / "bad.toml")
    Path(name).write_text(STUDY)
    home = home_with_store(folder / "home", template)
    words = ["study", name, "--plugin", str(rules), "--home", str(home.root)]
    return BadStudy(
        name, home, lbench(*words, *ALONE, "--json"), lbench(*words, "--status", "--json")
    )


def test_the_other_arms_are_trained_and_the_command_names_the_failed_ones(ran: BadStudy) -> None:
    assert ran.output.code == 1
    finished = [cell for cell in ran.output.json["cells"] if cell["test_error"] is not None]
    assert [cell["point"] for cell in finished] == ["bp/digits/mlp/batch=128"]
    unfinished = ran.output.json["unfinished"]
    assert set(unfinished) == {
        "stepless/digits/mlp/batch=128 seed 0",
        "stepless/digits/mlp/batch=1 seed 0",
        "buildless/digits/mlp/batch=128",
        "buildless/digits/mlp/batch=1",
        "bp/digits/mlp/batch=1",
    }
    assert "failed: ValueError: no step of mine" in unfinished["stepless/digits/mlp/batch=1 seed 0"]
    assert "no build of mine" in unfinished["buildless/digits/mlp/batch=1"]
    assert "BatchNorm" in unfinished["bp/digits/mlp/batch=1"]


def test_the_plan_names_points_that_cannot_be_timed_or_trained(ran: BadStudy) -> None:
    assert "so its time is unknown: ValueError: no step of mine" in ran.output.err
    assert "without 2 points that could not be timed" in ran.output.err
    assert "Cannot be trained: buildless/digits/mlp/batch=1: KeyError" in ran.output.err


def test_the_report_lists_every_arm_that_did_not_finish_with_its_reason(ran: BadStudy) -> None:
    page = (ran.home.reports / "bad" / "report.html").read_text()
    for reason in ("no step of mine", "no build of mine", "on which BatchNorm cannot train"):
        assert reason in page
    assert "Nothing has been trained at" not in page


def test_a_status_names_points_that_cannot_be_trained(ran: BadStudy) -> None:
    rows = {row["point"]: row for row in ran.status.json["points"]}
    assert "BatchNorm" in rows["bp/digits/mlp/batch=1"]["untrainable"]
    assert rows["bp/digits/mlp/batch=128"]["untrainable"] is None
    out = lbench("study", ran.name, "--status", "--home", str(ran.home.root)).out
    assert "Cannot be trained: bp/digits/mlp/batch=1: " in out
    assert "No process runs it now" not in out


def test_a_rule_that_ends_the_process_in_a_timed_step_has_no_estimate(rules: Path) -> None:
    both = plan(study(Arm("exits"), Arm("bp"), settings={"epochs": 1}), registry())
    messages: list[str] = []
    assert list(step_costs(both, torch.device("cpu"), 1, messages.append)) == ["bp/digits/mlp"]
    assert any("so its time is unknown: SystemExit: 0" in message for message in messages)


@pytest.mark.parametrize("failing", ["fa", "bp"])
def test_without_a_timed_step_there_is_no_budget_of_equal_operations(failing: str) -> None:
    arms = [Arm(rule, axes={"equal": ("epochs", "flops")}) for rule in ("bp", "fa")]
    untimed = plan(study(*arms, settings={"epochs": 4}), registry())
    flops = {p.key: 300.0 + 300.0 * (p.rule == "fa") for p in untimed.points if p.rule != failing}
    timed = with_budgets(untimed, flops)
    reasons = {failed.point.key: failed.reason for failed in timed.untrainable}
    # Without bp the number of equal operations is unknown for all rules.
    assert "fa/digits/mlp/equal=flops" in reasons
    assert ("bp/digits/mlp/equal=flops" in reasons) == (failing == "bp")
    assert all(f"A step of {failing} failed" in reason for reason in reasons.values())
    assert {point.values["equal"] for point in timed.points if point.rule == failing} == {"epochs"}


def test_without_a_reference_rule_no_operations_can_be_equal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = replace(registry().rules["bp"], reference=False)
    monkeypatch.setitem(registry().rules, "bp", plain)
    with pytest.raises(UsageError, match="no installed rule is the reference"):
        plan(study(Arm("fa", axes={"equal": ("flops",)}), settings={"epochs": 4}), registry())


BATCH_NORM: dict[str, Any] = {"network": "mlp", "network_options": {"norm": "batch"}}


@pytest.mark.parametrize(
    ("changes", "fitting"),
    [
        ({"labels": 0.1, "recipe": {"batch": 128}}, 127),
        ({"recipe": {"batch": 1}}, 3),  # with batches of 2 one of the 1,295 examples remains too
        ({"recipe": {"batch": 1}, "examples": 5}, 2),
        ({"dataset": "split-digits", "recipe": {"batch": 1}}, None),
    ],
    ids=str,
)
def test_a_batch_of_one_example_is_refused_with_batch_norm_and_the_hint_has_a_valid_size(
    changes: dict[str, Any], fitting: int | None
) -> None:
    with pytest.raises(UsageError, match="on which BatchNorm cannot train") as raised:
        check_batches(ask(**BATCH_NORM, **changes))
    batch = int(raised.value.hint.split()[3])
    assert fitting in (batch, None)
    check_batches(ask(**BATCH_NORM, **changes | {"recipe": {"batch": batch}}))


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "mlp", "network_options": {"norm": "group"}},
        {"network": "cnn"},  # an image has many positions
        {"rule": "softmax_regression", **BATCH_NORM},  # the rule does not use the network
        {"protocol": "paper", **BATCH_NORM},  # all examples are used, and their number fits
        {"examples": 128, **BATCH_NORM},  # the last batch is not reached
    ],
    ids=str,
)
def test_a_batch_of_one_example_is_accepted_without_batch_norm_over_it(
    changes: dict[str, Any],
) -> None:
    check_batches(ask(**changes, labels=0.1, recipe={"batch": 128}))


def test_a_search_of_the_batch_begins_though_the_default_leaves_one_example() -> None:
    settings = {"labels": 0.1, "batch": 128, "net.norm": "batch", "epochs": 1}
    searched = Search(sampler="random", only=(), space={"batch": (64, 127)})
    assert plan(study(Arm("bp", settings=settings), search=searched), registry()).untrainable
    del settings["batch"]
    assert not plan(study(Arm("bp", settings=settings), search=searched), registry()).untrainable
