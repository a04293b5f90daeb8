"""An arm gets the settings of a study's fallback where its rule needs them, and nowhere else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from lbench.errors import UsageError
from lbench.registry import registry
from lbench.report.lines import groups
from lbench.report.study_table import results_tables
from lbench.report.verdict import verdicts
from lbench.studies import plan as planning
from lbench.studies.collection import collect_results
from lbench.studies.definition import Arm, Search
from lbench.studies.lookup import find_study
from lbench.studies.study_file import read_study
from lbench.studies.study_plan import StudyPlan
from tests.studies.helper import ALONE, home_with_store, lbench, study

SHARES = {"leadership": (0.1, 1.0)}
FALLBACK = {"workers": 2, "forward": "relu"}
"""Two workers of a width that the ten classes of digits do not divide."""


def make_plan(*arms: Arm, network: str = "cnn", widths: int = 32, **changes: Any) -> StudyPlan:
    settings = {"epochs": 1, "net.widths": [widths]}
    changes = {"fallback": FALLBACK, "networks": (network,), **changes}
    return planning.plan(study(*arms, settings=settings, **changes), registry())


def test_a_rule_that_refuses_its_network_gets_the_fallback_at_every_value_of_an_axis() -> None:
    plan = make_plan(Arm("lfnn_l", axes=SHARES), Arm("bp"), Arm("lfnn_l_rr"))
    first, second, bp, readouts = plan.points
    assert [point.settings.get("workers") for point in plan.points] == [2, 2, None, None]
    # Without fully connected blocks forward acts in the audit's network alone: there is no note.
    assert [point.settings.get("forward") for point in plan.points] == ["relu", "relu", None, None]
    assert not any(resolved.notes for resolved in plan.resolved.values())
    assert first.key == "lfnn_l/digits/cnn/leadership=0.1"
    assert plan.resolved[first.key].per_block == {"workers": [2], "leaders": [1]}
    assert plan.resolved[second.key].per_block == {"workers": [2], "leaders": [2]}
    assert bp.fallback == readouts.fallback == ""
    assert plan.notes == [
        "lfnn_l on digits, cnn has workers=2 forward=relu, which the study sets where a rule needs "
        "it. Without: Block 'conv1' has width 32, which is not a multiple of 10 classes x 1 units "
        "per class."
    ]


def test_fully_connected_blocks_get_the_whole_fallback() -> None:
    (point,) = make_plan(Arm("lfnn_l"), network="mlp").points
    assert {name: point.settings[name] for name in FALLBACK} == FALLBACK


@pytest.mark.parametrize("search", [None, Search(trials=2, only=("leadership",))])
def test_an_option_that_could_not_act_gets_the_fallback(search: Search | None) -> None:
    """A convolution of ten channels is one worker, which always leads."""
    arm = Arm("lfnn_l", axes={} if search else SHARES)
    plan = make_plan(arm, widths=10, search=search)
    assert {point.settings["workers"] for point in plan.points} == {2}
    assert "Without: Option leadership cannot act" in plan.notes[0]
    with pytest.raises(UsageError, match="leadership cannot act"):
        make_plan(arm, widths=10, search=search, fallback={})


def test_configurations_that_need_no_fallback_are_those_without_one() -> None:
    arms = (Arm("lfnn_l", axes=SHARES), Arm("lfnn_l_rr"))
    plans = [make_plan(*arms, widths=20, fallback=fallback) for fallback in (FALLBACK, {})]
    with_one, without = [
        [plan.resolved[point.key].cell.fingerprint for point in plan.points] for plan in plans
    ]
    assert with_one == without
    assert not any(plan.notes for plan in plans)


def test_the_decision_for_an_arm_does_not_depend_on_the_other_arms() -> None:
    both = make_plan(Arm("lfnn_l"), Arm("lfnn"))
    for point in both.points:
        (alone,) = make_plan(Arm(point.rule)).points
        assert alone.settings == point.settings


@pytest.mark.parametrize(
    "arm",
    [
        Arm("lfnn_l", settings={"workers": 4}),
        Arm("lfnn_l", axes={"workers": (2, 4)}),
    ],
)
def test_what_an_arm_says_itself_takes_precedence(arm: Arm) -> None:
    plan = make_plan(arm)
    assert not plan.notes
    assert {point.settings["workers"] for point in plan.points} <= {2, 4}


@pytest.mark.parametrize("arms", [(Arm("lfnn_l"), Arm("bp")), (Arm("bp"), Arm("lfnn_l"))])
def test_a_rule_that_refuses_in_spite_of_it_is_reported_and_the_others_are_trained(
    arms: tuple[Arm, ...],
) -> None:
    plan = make_plan(*arms, network="mlp", widths=15)
    assert [point.rule for point in plan.points] == ["bp"]
    (refused,) = plan.untrainable
    assert "too few for 2 workers with 10 classes" in refused.reason
    assert "--set workers=1" in refused.reason
    assert "workers=2" in refused.point.fallback


def test_a_study_that_every_rule_refuses_is_an_error() -> None:
    with pytest.raises(UsageError, match="At lfnn_l/digits/mlp: Block 'fc1' emits 15") as raised:
        make_plan(Arm("lfnn_l"), network="mlp", widths=15)
    assert raised.value.hint


@pytest.mark.parametrize(
    ("fallback", "message"),
    [
        ({"net.widths": [20]}, r"net.widths cannot be in \[fallback\]: it takes options of rules"),
        ({"lr": 0.1}, r"lr cannot be in \[fallback\]"),
        ({"worker": 2}, "Unknown setting of rule lfnn_l 'worker'"),
    ],
)
def test_a_fallback_has_options_of_rules_alone(fallback: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_plan(Arm("lfnn_l"), fallback=fallback)


NETWORKS = {"digits": ("mlp-deep", "mlp-275k")}


def test_a_dataset_with_networks_of_its_own_has_them_for_all_arms() -> None:
    arms = (Arm("bp"), Arm("lfnn_l", network="mlp"))
    plan = planning.plan(study(*arms, networks_by_dataset=NETWORKS, networks=("cnn",)), registry())
    assert [point.network for point in plan.points] == ["mlp-deep", "mlp-275k", "mlp"]
    with pytest.raises(UsageError, match="Unknown network 'mpl'"):
        planning.plan(study(Arm("bp"), networks_by_dataset={"digits": ("mpl",)}), registry())


GOLDEN = {"leadership": "f44d4c4ec880ca49", "leadership_grid": "c64b6cf168cf83e3"}
"""Digests of all configurations on digits before there were fallbacks, without the rules' code."""


@pytest.mark.parametrize("name", GOLDEN)
def test_configurations_of_the_installed_studies_are_what_they_were(name: str) -> None:
    plan = planning.plan(find_study(name, registry()), registry(), datasets=["digits"])
    specs = {f"{name} {key}": resolved.cell.spec() for key, resolved in plan.resolved.items()}
    for spec in specs.values():
        del spec["rule"]["code"]
    text = json.dumps(specs, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == GOLDEN[name]


FILE = """
title = "Fallback"
question = "Which?"
datasets = ["digits"]
networks = ["mlp"]
rules = ["bp", "lfnn_l"]
seeds = 1

[set]
examples = 128
"net.widths" = [32]

[fallback]
workers = 2
forward = "relu"
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[fallback]", "[axes]\nworkers = [1]\n[fallback]", "workers is both an axis and"),
        ("examples = 128", "workers = 2", r"study.toml, line 14: workers is both a setting and in"),
        ("[set]", "networks_by_dataset = { digits = [] }\n[set]", "has no network for digits"),
        ("[set]", 'networks_by_dataset = { digits = ["a", "a"] }\n[set]', "has 'a' twice"),
    ],
)
def test_the_message_names_the_line_of_a_wrong_field(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "study.toml"
    path.write_text(FILE.replace(old, new))
    with pytest.raises(UsageError, match=message):
        read_study(path)


def test_a_version_is_the_earlier_one_without_a_fallback(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(FILE.partition("[fallback]")[0])
    before = read_study(path).version
    assert before == "558042d7"
    path.write_text(FILE.replace("[set]", 'networks_by_dataset = { mnist = ["mlp"] }\n[set]'))
    assert read_study(path).version != before
    path.write_text(path.read_text().partition("[fallback]")[0])
    assert read_study(path).version == before


@pytest.mark.slow
@pytest.mark.thorough
def test_table_and_page_of_a_report_say_which_settings_a_rule_got(
    tmp_path: Path, template: Path
) -> None:
    home = home_with_store(tmp_path / "home", template)
    path = tmp_path / "study.toml"
    path.write_text(FILE)
    done = lbench("study", str(path), "--home", str(home.root), *ALONE)
    assert done.code == 0, done.err
    note = "lfnn_l on digits, mlp has workers=2 forward=relu, which the study sets"
    assert note in " ".join(done.err.split())
    results = collect_results(read_study(path), home)
    (group,) = groups(results)
    assert group.lines[1].title == "lfnn_l workers=2 forward=relu"
    (table,) = results_tables(verdicts(results))
    assert any(line.startswith(note) for line in table.notes)
    for name in ("report.html", "table.md"):
        assert note in (home.reports / "study" / name).read_text()
