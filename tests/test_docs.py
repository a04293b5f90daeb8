"""The examples, commands and numbers of the documentation are right."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch

from lbench.claims import Claims
from lbench.cli.main import COMMANDS
from lbench.cli.new import SCAFFOLDS, contents
from lbench.data.digits import FILE
from lbench.hooks import API
from lbench.init import Init
from lbench.registry import Registry
from lbench.testing import CHECKS, Check, Subject, examine
from tests import forked
from tests.training.helper import epoch_log, lbench_run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs" / "writing-a-rule.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def block_of(page: str, fragment: str) -> str:
    """Return the only Python block of a page that has this text."""
    text = (ROOT / "docs" / page).read_text()
    (block,) = [block for block in blocks(text, "python") if fragment in block]
    return block


def guide(fragment: str) -> str:
    return block_of("writing-a-rule.md", fragment)


def test_the_guides_file_is_short_and_trains_as_a_plugin(tmp_path: Path) -> None:
    code = guide("class Heads(")
    assert len(code.splitlines()) <= 30
    (tmp_path / "heads.py").write_text(code)
    first, *others = [line for line in GUIDE.splitlines() if "--plugin heads.py" in line]
    command = first.removeprefix("$ lbench run ").replace("heads.py", str(tmp_path / "heads.py"))
    words = [*shlex.split(command), "--epochs", "5", "--no-store"]
    result = lbench_run(*words, home=tmp_path / "home")
    assert result["config"] == {"smoothing": 0.1}
    assert result["params"]["aux"] == 2 * (260 * 10 + 10)
    assert result["test_error"]["mean"] < 20
    assert [line.split()[2] for line in others] == ["rules", "check"]


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[type]:
    """Return the class of the guide's file, imported as ``--plugin`` does."""
    path = tmp_path_factory.mktemp("guide") / "guides_heads.py"
    path.write_text(guide("class Heads("))
    known = Registry()
    known.add_file(path)
    yield known.load("rules", "heads")
    del sys.modules["guides_heads"]


@pytest.mark.usefixtures("forked_resuming")
@pytest.mark.parametrize("check", CHECKS, ids=[check.name for check in CHECKS])
def test_the_guides_rule_passes_the_kit(heads: type, check: Check) -> None:
    outcome = examine(check, Subject(heads))
    assert outcome.status in ("passed", "skipped"), outcome.detail


def test_a_wrong_claim_of_the_guides_rule_is_a_failure(heads: type) -> None:
    class Wrong(heads):  # type: ignore[misc]
        @classmethod
        def claims(cls, config: Any, network: Any) -> Claims:
            return Claims(transport="none")

    (check,) = [check for check in CHECKS if check.name == "claims_equal_measurements"]
    outcome = examine(check, Subject(Wrong))
    assert outcome.status == "failed"
    assert "transport" in outcome.detail


def test_the_guides_package_is_what_new_writes(tmp_path: Path) -> None:
    files = contents("rule", "heads", SCAFFOLDS["rule"])
    (points,) = blocks(GUIDE, "toml")
    assert points in files["pyproject.toml"]
    on_page, written = {}, {}
    exec(guide("def lbench_rules"), on_page)
    exec(files["lbench_rule_heads/__init__.py"], written)
    assert on_page["API"] == written["API"] == API
    assert on_page["lbench_rules"]() == written["lbench_rules"]()
    assert guide("class TestHeads").splitlines()[0] in files["tests/test_heads.py"]


def test_every_command_of_the_guide_exists() -> None:
    named = set(re.findall(r"lbench ([a-z-]+)", "\n".join(blocks(GUIDE, "console"))))
    assert named == {"run", "rules", "check", "new"}
    assert named <= set(COMMANDS)


@pytest.fixture(scope="module")
def thin18(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page's file, which can import torchvision here, whatever build that is."""
    code = block_of("writing-a-network.md", "class Thin18(")
    assert len(code.splitlines()) <= 40
    path = tmp_path_factory.mktemp("networks") / "thin18.py"
    path.write_text(f"from lbench.data import _torchvision\n_torchvision.load('models')\n{code}")
    return path


@pytest.mark.parametrize("rule", ["bp", "dfa", "lfnn_l"])
def test_rules_train_the_network_of_the_page(rule: str, thin18: Path, tmp_path: Path) -> None:
    result = lbench_run(
        "--rule", rule, "--network", "thin18", "--net", "width=10", "--net", "pairs=1,1,1,1",
        "--plugin", str(thin18), "--dataset", "digits", "--epochs", "1", "--no-store",
        home=tmp_path,
    )  # fmt: skip
    assert result["runs"][0]["status"] == "finished"
    assert result["test_error"]["mean"] < 85


def test_the_network_of_the_page_computes_what_torchvision_computes(thin18: Path) -> None:
    known = Registry()
    known.add_file(thin18)
    spec = known.load("networks", "thin18")
    resnet: Any = importlib.import_module("torchvision.models.resnet")
    network = spec().build(Init(0), (3, 32, 32), 10)
    model = resnet.resnet18(num_classes=10)
    model.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = torch.nn.Identity()
    maps = {layer.name: layer.affine for layer in network.layers} | {"fc": network.readout.linear}
    for name, module in model.named_modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            module.load_state_dict(maps.pop(name).state_dict())
    assert not maps
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for training in (True, False):
        assert torch.equal(network.train(training)(x), model.train(training)(x))
    assert len(network.blocks) == 9
    del sys.modules["thin18"]


def test_the_network_of_parts_on_the_page_builds() -> None:
    names: dict[str, Any] = {"__name__": "networks_page"}
    exec(block_of("writing-a-network.md", "class Wide("), names)
    network = names["Wide"](width=7).build(Init(0), (1, 8, 8), 10)
    assert [block.name for block in network.blocks] == ["fc1", "fc2"]
    hooks: dict[str, Any] = {}
    exec(block_of("writing-a-network.md", "def lbench_networks"), hooks)
    for entry in hooks["lbench_networks"]():
        assert entry.load.endswith(":Wide")
        assert names["Wide"](**entry.preset).width in (100, 1000)


def test_the_dataset_of_the_page_is_trained_on(tmp_path: Path) -> None:
    code = block_of("writing-a-dataset.md", "class Glyphs(")
    assert len(code.splitlines()) <= 25
    (tmp_path / "glyphs.py").write_text(code)
    (tmp_path / "glyphs.npz").write_bytes(FILE.read_bytes())
    words = ["--rule", "bp", "--dataset", "glyphs", "--plugin", str(tmp_path / "glyphs.py"),
             "--data-dir", str(tmp_path), "--epochs", "2", "--no-store"]  # fmt: skip
    cache = {"LBENCH_CACHE": str(tmp_path / "cache")}
    plain = lbench_run(*words, home=tmp_path / "home", **cache)
    inverted = lbench_run(*words, "--data", "inverted=true", home=tmp_path / "home", **cache)
    assert plain["test_error"]["mean"] < 40
    assert inverted["cell"] != plain["cell"]
    assert len(list((tmp_path / "cache").glob("glyphs-*.bin"))) == 2
    entries: dict[str, Any] = {}
    exec(block_of("writing-a-dataset.md", "def lbench_datasets"), entries)
    (entry,) = entries["lbench_datasets"]()
    assert entry.name == "glyphs"


def test_the_probe_of_the_page_measures_and_leaves_the_run_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "sparsity.py").write_text(block_of("writing-a-probe.md", "class Sparsity("))
    words = ["--rule", "bp", "--dataset", "digits", "--epochs", "2", "--no-store"]
    probed = ["--probe", "sparsity", "--plugin", str(tmp_path / "sparsity.py")]
    plain = lbench_run(*words, home=tmp_path / "plain")["runs"][0]
    run = lbench_run(*words, *probed, home=tmp_path / "probed")["runs"][0]
    table = pandas.read_parquet(Path(run["run_dir"]) / "probes" / "sparsity.parquet")
    assert list(table) == ["step", "epoch", "block", "zeros"]
    assert list(table["block"]) == [0, 1, 0, 1]
    assert table["zeros"].between(5, 80).all()
    assert epoch_log(plain["run_dir"]) == epoch_log(run["run_dir"])
    entries: dict[str, Any] = {}
    exec(block_of("writing-a-probe.md", "def lbench_probes"), entries)
    assert [entry.name for entry in entries["lbench_probes"]()] == ["sparsity"]


def test_the_examples_of_the_pages_pass_their_kits(thin18: Path, tmp_path: Path) -> None:
    (tmp_path / "glyphs.py").write_text(block_of("writing-a-dataset.md", "class Glyphs("))
    (tmp_path / "glyphs.npz").write_bytes(FILE.read_bytes())
    (tmp_path / "sparsity.py").write_text(block_of("writing-a-probe.md", "class Sparsity("))
    for words in (
        ["--network", "thin18", "--set", "width=10", "--plugin", str(thin18)],
        ["--dataset", "glyphs", "--plugin", "glyphs.py", "--data-dir", "."],
        ["--probe", "sparsity", "--plugin", "sparsity.py"],
    ):
        env = {**os.environ, "LBENCH_CACHE": str(tmp_path / "cache")}
        done = forked.run("check", *words, "--json", cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
        (report,) = json.loads(done.stdout)
        assert report["passed"] == len(report["checks"]), report


def test_the_readmes_rule_is_a_rule() -> None:
    from lbench.init import Init
    from lbench.networks.mlp import Mlp
    from lbench.task import Task

    (code,) = blocks(README, "python")
    names: dict[str, type] = {}
    exec(code, names)
    init = Init(0)
    network = Mlp(widths=(20, 30)).build(init, (1, 8, 8), 10)
    rule = names["Heads"](network, Task("digits", (1, 8, 8), 10), names["Heads"].Config(), init)
    assert [group.name for group in rule.groups()] == ["block0", "block1", "readout"]
    assert "heads.1.weight" in rule.groups()[1].params


def test_every_command_of_the_readme_exists() -> None:
    named = set(re.findall(r"lbench ([a-z-]+)", "\n".join(blocks(README, "console"))))
    assert named <= set(COMMANDS)
    assert {"run", "compare", "ui"} <= named


def test_the_json_page_names_every_field_that_run_prints(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "json.md").read_text()
    result = lbench_run(
        "--rule", "bp", "--dataset", "digits", "--epochs", "1", "--no-store", home=tmp_path
    )
    for name in [*result, *result["runs"][0]]:
        assert f"`{name}`" in page, name


def test_the_readme_has_the_two_commands_and_ci_runs_the_second() -> None:
    lines = [line.removeprefix("$ ") for block in blocks(README, "console") for line in
             block.splitlines()]  # fmt: skip
    first = (
        "python -m pip install -c constraints.txt -e . && lbench run --rule lfnn_l --dataset digits"
    )
    second = "python -m pip install -c constraints.txt tox && python -m tox"
    assert first in lines
    assert second in lines
    assert second in (ROOT / ".ci" / "run").read_text().splitlines()


def test_all_dependencies_have_a_range_and_a_pin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {
        line.partition("==")[0].lower()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    extras = project["optional-dependencies"].values()
    for requirement in [*project["dependencies"], *(name for extra in extras for name in extra)]:
        name, operator, _ = re.split(r"(>=)", requirement, maxsplit=1)
        assert operator
        assert name.lower() in pins


def test_the_readmes_errors_on_mnist_are_those_of_the_table_of_all_rules() -> None:
    measured = (ROOT / "docs" / "rules" / "measured.md").read_text()
    errors = re.findall(r"^\| (`\w+`) \| (\d+\.\d+ ± \d+\.\d+) \|", README, flags=re.MULTILINE)
    assert len(errors) >= 10
    for rule, error in errors:
        assert f"| {rule} | {error} |" in measured


def test_the_table_of_a_runs_path_names_files_and_what_they_define() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text.partition("| what happens | file | functions |\n")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[1:]]
    assert len(rows) >= 8
    for _, files, names in rows:
        paths = [ROOT / "lbench" / path for path in re.findall("`(.*?)`", files)]
        code = "".join(path.read_text() for path in paths)
        for name in re.findall("`(.*?)`", names):
            assert re.search(rf"^(?:def|class) {name}\b", code, re.MULTILINE), name
