"""docs/data.md and the README have every dataset, option and statistic of the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from lbench.cli.main import cli
from lbench.data.split import labelled
from lbench.registry import registry
from lbench_probes import continual

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text()
README = (ROOT / "README.md").read_text()


def rows(text: str, header: str) -> list[list[str]]:
    """Return the cells of the table below this header."""
    lines = text.partition(f"{header}\n")[2].splitlines()[1:]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines[: lines.index("")]
    ]


def names(cell: str) -> list[str]:
    return re.findall(r"`([\w-]+)`", cell)


def test_the_page_has_every_dataset_with_its_options() -> None:
    on_page = {
        name: names(options)
        for row in rows(PAGE, "| dataset | options |")
        for name in names(row[0])
        for options in row[1:]
    }
    assert sorted(on_page) == sorted(registry().datasets)
    for name, options in on_page.items():
        cls = registry().load("datasets", name)
        assert options == list(cls.Config.model_fields), name


def test_the_page_has_every_kind_of_sequence_with_its_own_options() -> None:
    on_page = {
        row[0]: names(row[1]) for row in rows(PAGE, "| sequence | own options | a task is |")
    }
    assert list(on_page) == [f"`{kind}-NAME`" for kind in registry().sequences]
    for kind, options in zip(registry().sequences, on_page.values(), strict=True):
        fields = registry().load("sequences", kind).Config.model_fields
        assert options == [name for name in fields if name != "permute"]


def test_the_readme_has_every_dataset() -> None:
    table = rows(README, "| dataset | where it comes from |")
    assert sorted(n for row in table for n in names(row[0])) == sorted(registry().datasets)


def test_the_page_names_every_number_of_a_sequence() -> None:
    functions = {name for row in rows(PAGE, "| function | what it is |") for name in names(row[0])}
    assert {name for name in functions if not callable(getattr(continual, name))} == set()
    assert functions >= set(continual.continual([[1.0]]).as_dict()) | {"at_matched_plasticity"}


def test_every_command_of_the_page_exists() -> None:
    blocks = re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL)
    commands = [line.removeprefix("$ lbench ") for block in blocks for line in block.splitlines()]
    assert len(commands) >= 6
    for command in commands:
        result = CliRunner().invoke(cli, [*shlex.split(command), "--help"])
        assert result.exit_code == 0, result.output
        words = shlex.split(command)
        registry().find("datasets", words[words.index("--dataset") + 1])


def test_a_hundredth_of_the_labels_of_mnist_has_the_steps_of_the_page() -> None:
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    training = [n - round(0.1 * n) for n in counts]
    labels = np.repeat(np.arange(10), training)
    chosen = len(labelled(labels, 0.01, "any"))
    steps = 15 * -(-chosen // 128)
    assert f"makes {steps} (15 epochs of {steps // 15} batches" in PAGE
    assert f"--examples {15 * 54000}\n" in PAGE
