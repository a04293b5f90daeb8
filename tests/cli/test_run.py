"""Tests of ``lbench run``: its JSON, wrong input, and the packages that it does not need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lbench.cli.main import main
from tests import forked
from tests.training.helper import lbench_run, words

SMALL = ("--dataset", "digits", "--epochs", "1", "--no-store")

HEAVY = (
    "mlflow",
    "optuna",
    "sqlalchemy",
    "scipy",
    "sklearn",
    "pandas",
    "matplotlib",
    "torchvision",
    # PyTorch's compiler, which its optimizer classes import.
    "torch._dynamo",
)


@pytest.fixture
def refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[[tuple[str, ...], int], str]:
    """Return a function that runs ``lbench run`` in this process and returns its error message.

    The command must have the given exit code and must not create the home.
    """

    def run(arguments: tuple[str, ...], code: int) -> str:
        home = tmp_path / "home"
        with pytest.raises(SystemExit) as ended:
            main(["run", *arguments, "--home", str(home)])
        output = capsys.readouterr().err
        assert ended.value.code == code, output
        assert "Traceback" not in output
        assert not home.exists()
        return output

    return run


def test_json_is_one_object_with_every_documented_value(tmp_path: Path) -> None:
    result = lbench_run(
        "--rule", "lfnn_l", "--dataset", "digits", "--epochs", "2", "--seeds", "2",
        "--no-store", home=tmp_path,
    )  # fmt: skip
    assert result["rule"] == "lfnn_l"
    assert result["config"]["leadership"] == 0.7
    assert result["recipe"]["optimizer"] == "adam"
    assert (result["dataset"], result["variant"]) == ("digits", "embedded")
    assert (result["network"], result["blocks"]) == ("mlp", 2)
    assert (result["protocol"], result["epochs"]) == ("strict", 2)
    assert result["cell"].startswith("lfnn_l/digits/mlp/epochs=2@")
    assert [run["seed"] for run in result["runs"]] == [0, 1]
    for run in result["runs"]:
        assert (run["status"], run["reason"], run["cached"], run["attempt"]) == (
            "finished", None, False, 1,
        )  # fmt: skip
        assert len(run["fingerprint"]) == 64
        for name in ("train_error", "val_error", "test_error", "test_error_at_best_val"):
            assert 0 <= run[name] <= 100
        assert set(run["seconds"]) == {"training", "evaluation", "other"}
        assert run["step_ms"] > 0
        assert run["peak_memory_mib"] > 50
        assert Path(run["run_dir"]).is_dir()
        assert run["mlflow_run_id"] is None
    assert result["test_error"]["n"] == 2
    low, high = result["test_error"]["ci95"]
    assert low <= result["test_error"]["mean"] <= high
    assert isinstance(result["published"], list)
    assert result["params"] == {"inf": 64 * 260 + 260 + 260 * 260 + 260 + 2610, "aux": 0, "fix": 0}
    assert result["audit"]["bp_free"] == {"claimed": True, "measured": True}
    assert result["audit"]["backward_depth"] == {"claimed": 0, "measured": 0}
    assert result["contradictions"] == []
    assert all(run["glances"][0]["step"] == 0 for run in result["runs"])


def test_one_seed_has_no_interval_over_seeds(tmp_path: Path) -> None:
    result = lbench_run("--rule", "bp", *SMALL, home=tmp_path)
    assert (result["test_error"]["sd"], result["test_error"]["ci95"]) == (None, None)


CHEAT = """
from lbench import Claims, LocalRule


class Chatty(LocalRule):
    @classmethod
    def claims(cls, config, network):
        return Claims(transport="none", backward_depth=0, update_locked=False)

    def loss(self, v, s):
        for block in self.network.blocks[v.k + 1 :]:
            block.layers[0].affine.weight.data.mul_(0.9)
        return v.h.square().mean()
"""


def test_false_claims_of_a_rule_in_a_plugin_file_are_contradicted(tmp_path: Path) -> None:
    file = tmp_path / "chatty.py"
    file.write_text(CHEAT)
    arguments = ("--rule", "chatty", "--plugin", str(file), *SMALL)
    content = lbench_run(*arguments, home=tmp_path)
    assert content["audit"]["writes"] == {"claimed": "own", "measured": "foreign"}
    assert any("block0 (steps 1, " in text for text in content["contradictions"])
    done = forked.run(*words(*arguments, home=tmp_path), check=True)
    assert "CONTRADICTED: writes: " in done.stdout
    assert "fc2.weight was changed before the update of block0" in done.stdout


BAD: list[tuple[tuple[str, ...], int, tuple[str, ...]]] = [
    (("--rule", "lfn_l", *SMALL), 2, ("Unknown rule 'lfn_l'", "lfnn_l")),
    (("--rule", "bp", "--dataset", "minst"), 2, ("Unknown dataset 'minst'", "mnist")),
    (("--rule", "bp", *SMALL, "--network", "mlp-257k"), 2, ("'mlp-257k'", "mlp-275k")),
    (("--rule", "lfnn_l", *SMALL, "--set", "leadrship=0.5"), 2, ("leadership",)),
    (("--rule", "lfnn_l", *SMALL, "--set", "leadership=1.5"), 2, ("from 0 to 1", "'1.5'")),
    (("--rule", "lfnn_l", *SMALL, "--set", "selection=year"), 2, ("first_epoch or random",)),
    (("--rule", "lfnn_l", *SMALL, "--set", "leadership"), 2, ("NAME=VALUE",)),
    (("--rule", "fa", *SMALL, "--set", "leadership=0.5"), 2, ("has no options",)),
    (("--rule", "fa", *SMALL, "--set", "lr=0.5"), 2, ("of the command: --lr 0.5",)),
    (("--rule", "lfnn_l", *SMALL, "--set", "epochs=3"), 2, ("of the command: --epochs 3",)),
    (("--rule", "bp", *SMALL, "--lr", "fast"), 2, ("lr", "'fast'")),
    (("--rule", "bp", *SMALL, "--optimizer", "adan"), 2, ("adam, adamw or sgd",)),
    (("--rule", "bp", *SMALL, "--momentum", "0.9"), 2, ("momentum", "cannot act", "sgd")),
    (("--rule", "bp", *SMALL, "--gamma", "0.5"), 2, ("gamma", "cannot act", "step")),
    (("--rule", "bp", *SMALL, "--milestones", "0.5"), 2, ("milestones", "cannot act", "step")),
    (("--rule", "pepita", *SMALL, "--optimizer", "adam", "--momentum", "0.9"), 2, ("momentum",)),
    (
        ("--rule", "bp", *SMALL, "--labels", "0.1", "--batch", "128", "--net", "norm=batch"),
        2,
        ("129 training examples", "BatchNorm", "A batch of 127"),
    ),
    (("--rule", "bp", *SMALL, "--labels", "²"), 2, ("--labels", "share above 0", "²")),
    (("--rule", "bp", *SMALL, "--net", f"widths={10**18}"), 2, ("does not fit into memory",)),
    (("--rule", "bp", *SMALL, "--blocks", "9"), 2, ("2 blocks", "from 1 to 2")),
    (("--rule", "bp", *SMALL, "--augment", "rotate9"), 2, ("rotate9", "crop<pixels>")),
    (("--rule", "bp", *SMALL, "--device", "cuda:99"), 2, ("cuda:99", "--device auto")),
    (("--rule", "bp", "--dataset", "digits", "--epochs", "0"), 2, ("--epochs", "at least 1")),
    (
        ("--rule", "lfnn_l", *SMALL, "--network", "mlp", "--net", "widths=255,260"),
        2,
        ("'fc1' has width 255", "250 or 260"),
    ),
]


@pytest.mark.parametrize(("arguments", "code", "words"), BAD, ids=lambda x: " ".join(map(str, x))
                         if isinstance(x, tuple) else str(x))  # fmt: skip
def test_the_error_for_wrong_input_names_what_is_allowed(
    arguments: tuple[str, ...],
    code: int,
    words: tuple[str, ...],
    refused: Callable[[tuple[str, ...], int], str],
) -> None:
    output = refused(arguments, code)
    for word in words:
        assert word in output


def test_an_error_with_json_is_one_object(tmp_path: Path) -> None:
    result = lbench_run("--rule", "lfn_l", *SMALL, home=tmp_path, code=2)
    assert set(result) == {"error"}
    assert set(result["error"]) == {"kind", "message", "hint"}
    assert result["error"]["kind"] == "usage"


def test_missing_data_gives_exit_code_3_and_names_the_searched_directory(
    tmp_path: Path, refused: Callable[[tuple[str, ...], int], str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    arguments = ("--rule", "bp", "--dataset", "imagefolder", "--data-dir", str(empty))
    assert str(empty) in refused(arguments, 3)


def test_a_diverged_run_gives_exit_code_1_and_keeps_its_row(tmp_path: Path) -> None:
    arguments = ("--rule", "bp", "--dataset", "digits", "--no-store", "--optimizer", "sgd",
                 "--lr", "100", "--weight-decay", "1")  # fmt: skip
    result = lbench_run(*arguments, home=tmp_path, code=1)
    (run,) = result["runs"]
    assert run["status"] == "diverged"
    assert "at step" in run["reason"]
    assert result["test_error"] is None


def without_heavy_packages(*arguments: str) -> str:
    """Return the standard output of ``lbench`` in a process that cannot import heavy packages."""
    blocker = (
        "import sys\n"
        f"for name in {HEAVY!r}:\n"
        "    sys.modules[name] = None\n"
        "from lbench.cli.main import main\n"
        "main(sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", blocker, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_store_needs_no_heavy_package(tmp_path: Path) -> None:
    output = without_heavy_packages("run", "--rule", "bp", *SMALL, "--home", str(tmp_path))
    assert "test error %" in output


def test_no_store_reads_real_mnist_without_heavy_packages(tmp_path: Path) -> None:
    if not os.environ.get("LBENCH_DATA"):
        pytest.skip("no real data: name its directory in LBENCH_DATA")
    output = without_heavy_packages(
        "run", "--rule", "bp", "--dataset", "mnist", "--examples", "6400", "--no-store",
        "--home", str(tmp_path), "--json",
    )  # fmt: skip
    assert json.loads(output)["runs"][0]["test_error"] < 60


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """Return a directory with a distribution that has a rule, as pip installs it."""
    layer = tmp_path / "layer"
    package = layer / "lbench_rule_half"
    info = layer / "lbench_rule_half-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lbench-rule-half\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lbench]\nhalf = lbench_rule_half\n")
    (package / "__init__.py").write_text(
        "from lbench.hooks import RuleEntry, hookimpl\nAPI = 1\n\n@hookimpl\ndef lbench_rules():\n"
        "    return [RuleEntry('half', 'Half the loss', 'me', load='lbench_rule_half.half:Half')]\n"
    )
    (package / "half.py").write_text(
        "from lbench import GradientRule\n\nclass Half(GradientRule):\n"
        "    def loss(self, batch, s):\n"
        "        return 0.5 * self.task.loss(self.network(batch.x, s), batch.target)\n"
    )
    return layer


def test_an_edited_rule_is_trained_again_with_a_note(plugin: Path, tmp_path: Path) -> None:
    arguments = ("--rule", "half", "--dataset", "digits", "--epochs", "1")
    home, path = tmp_path / "home", {"PYTHONPATH": str(plugin)}
    first = lbench_run(*arguments, home=home, **path)
    again = lbench_run(*arguments, home=home, **path)
    assert [first["runs"][0]["cached"], again["runs"][0]["cached"]] == [False, True]
    edit(plugin / "lbench_rule_half" / "half.py", "0.5 *", "0.25 *")
    done = forked.run(
        *words(*arguments, home=home), "--json", env={**os.environ, **path}, check=True
    )
    edited: dict[str, Any] = json.loads(done.stdout)
    assert edited["runs"][0]["cached"] is False
    assert f"{first['cell']} was trained with older code" in done.stderr
    assert edited["cell"] != first["cell"]


def test_a_damaged_store_gives_exit_code_4_and_keeps_the_results(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("this is no database\n" * 100)
    arguments = ("--rule", "bp", "--dataset", "digits", "--epochs", "1")
    result = lbench_run(*arguments, home=tmp_path, code=4)
    (run,) = result["runs"]
    assert run["status"] == "finished"
    assert (Path(run["run_dir"]) / "result.json").exists()
