"""Settings that change the fingerprint of a run, and those that do not."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from lbench.errors import UsageError
from lbench.training.cell import parse_settings
from lbench.training.digest import code_digest
from lbench_bp.bp import Bp
from lbench_lfnn.lfnn_l import LfnnL
from tests.training.helper import ask

CHANGES: list[dict[str, Any]] = [
    {"config": {"leadership": 0.5}},
    {"recipe": {"lr": 0.01}},
    {"recipe": {"batch": 64}},
    {"recipe": {"optimizer": "sgd"}},
    {"recipe": {"dropout": 0.1}},
    {"network": "mlp", "network_options": {"widths": "100,100"}},
    {"blocks": 1},
    {"epochs": 3},
    {"examples": 3000},
    {"protocol": "paper"},
    {"augmentation": "translate1"},
    {"precision": "bf16"},
    {"config": {"selection": "example"}, "microbatch": 8},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_setting_that_changes_results_changes_the_fingerprint(change: dict[str, Any]) -> None:
    assert ask("lfnn_l", **change).cell.fingerprint != ask("lfnn_l").cell.fingerprint


def test_different_configurations_have_ids_with_different_words() -> None:
    words = {ask("lfnn_l", **change).cell.id.split("@")[0] for change in [{}, *CHANGES]}
    assert len(words) == len(CHANGES) + 1


@pytest.mark.parametrize(
    "same",
    [
        {"config": {"leadership": "0.7"}},
        {"config": {"leadership": 0.7000000000000001}},
        {"recipe": {"lr": "0.003"}},
        {"network": "mlp"},
        {"blocks": 2},
        {"epochs": 2},
        {"augmentation": ""},
        {"recipe": {"momentum": 0.5}},
        {"recipe": {"gamma": 0.1}},
        {"recipe": {"weight_decay": "-0.0"}},
    ],
    ids=str,
)
def test_equal_settings_in_other_words_have_the_same_id(same: dict[str, Any]) -> None:
    assert ask("lfnn_l", **same).cell.id == ask("lfnn_l").cell.id


def test_seeds_of_a_configuration_have_fingerprints_of_their_own() -> None:
    cell = ask().cell
    assert len({cell.run_fingerprint(seed) for seed in range(5)} | {cell.fingerprint}) == 6


def test_the_fingerprint_is_the_same_in_another_process(tmp_path: Path) -> None:
    from tests.training.helper import lbench_run

    printed = lbench_run(
        "--rule", "bp", "--dataset", "digits", "--epochs", "1", "--no-store", home=tmp_path,
        PYTHONHASHSEED="77",
    )  # fmt: skip
    assert printed["runs"][0]["fingerprint"] == ask(epochs=1).cell.run_fingerprint(0)


def test_a_setting_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="leadership was given twice"):
        parse_settings(["leadership=0.5", "leadership=0.7"], "--set")


@pytest.mark.parametrize("milestones", ["5,-1", "0.5,0.2", "1"])
def test_milestones_must_be_increasing_shares(milestones: str) -> None:
    with pytest.raises(UsageError, match="rise between 0 and 1"):
        ask(recipe={"schedule": "step", "milestones": milestones})


PLUGIN = {
    "__init__.py": "",
    "rule.py": (
        "import lbench_digest_neighbour\nfrom lbench_bp.bp import Bp\nfrom . import maths\n"
        "class Mine(Bp):\n    scale = 1\n"
    ),
    "../lbench_digest_neighbour.py": "z = 1\n",
    "maths.py": "def f(x):\n    return x  # as it is\n",
    "unused.py": "y = 1\n",
}


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "lbench_digest_plugin"
    package.mkdir()
    for name, text in PLUGIN.items():
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return package


def digest_of(package: Path) -> str:
    for name in [name for name in sys.modules if name.startswith("lbench_digest")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    return code_digest(importlib.import_module(f"{package.name}.rule").Mine)


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("rule.py", "scale = 1", "scale = 2", True),
        ("maths.py", "return x", "return 2 * x", True),
        ("maths.py", "# as it is", "# unchanged", False),
        ("maths.py", "def f", "\n\ndef f", False),
        ("../lbench_digest_neighbour.py", "z = 1", "z = 2", True),
        ("unused.py", "y = 1", "y = 2", False),
    ],
)
def test_an_edit_of_code_changes_the_digest_but_a_comment_does_not(
    plugin: Path, file: str, old: str, new: str, changes: bool
) -> None:
    before = digest_of(plugin)
    path = plugin / file
    path.write_text(path.read_text().replace(old, new))
    assert (digest_of(plugin) != before) is changes


def test_rules_of_one_package_have_digests_of_their_own_files() -> None:
    assert code_digest(Bp) != code_digest(LfnnL)
    assert code_digest(LfnnL) == code_digest(LfnnL)


def test_two_budgets_are_refused() -> None:
    with pytest.raises(UsageError, match="two budgets"):
        ask(epochs=1, examples=100)
