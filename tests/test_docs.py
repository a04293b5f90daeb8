"""What the documentation shows is what happens."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from lbench.cli.main import COMMANDS
from tests.run.helper import lbench_run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs" / "writing-a-rule.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The guide's package, laid out as pip would have."""
    (project,) = blocks(GUIDE, "toml")
    meta = tomllib.loads(project)["project"]
    hook, rule = blocks(GUIDE, "python")
    package = tmp_path / "site" / "lbench_rule_pred"
    info = tmp_path / "site" / "lbench_rule_pred-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").write_text(hook)
    (package / "pred.py").write_text(rule)
    name, version = meta["name"], meta["version"]
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    points = meta["entry-points"]["lbench"].items()
    (info / "entry_points.txt").write_text(
        "[lbench]\n" + "".join(f"{key} = {value}\n" for key, value in points)
    )
    return tmp_path / "site"


def test_the_guides_rule_trains_and_its_heads_are_counted(site: Path, tmp_path: Path) -> None:
    result = lbench_run(
        "--rule", "pred", "--dataset", "digits", "--set", "scale=2", "--epochs", "5",
        "--no-store", home=tmp_path / "home", PYTHONPATH=str(site),
    )  # fmt: skip
    assert result["config"] == {"scale": 2.0}
    assert result["params"]["aux"] == 2 * (260 * 10 + 10)
    assert result["test_error"]["mean"] < 20


def test_the_readmes_rule_is_a_rule() -> None:
    from lbench.init import Init
    from lbench.networks.mlp import Mlp
    from lbench.task import Task

    (code,) = blocks(README, "python")
    names: dict[str, type] = {}
    exec(code, names)
    init = Init(0)
    network = Mlp(widths=(20, 30)).build(init, (1, 8, 8), 10)
    rule = names["Pred"](network, Task("digits", (1, 8, 8), 10), names["Pred"].Config(), init)
    assert [group.name for group in rule.groups()] == ["block0", "block1", "readout"]
    assert "heads.1.weight" in rule.groups()[1].params


def test_every_command_of_the_readme_exists() -> None:
    named = set(re.findall(r"lbench ([a-z]+)", "\n".join(blocks(README, "console"))))
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
    for requirement in [*project["dependencies"], *(each for extra in extras for each in extra)]:
        name, operator, _ = re.split(r"(>=)", requirement, maxsplit=1)
        assert operator
        assert name.lower() in pins
