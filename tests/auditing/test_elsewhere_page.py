"""The page on auditing other code: its files have the results that it states."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lbench.auditing.step_file import StepFile
from lbench.cli.main import cli

PAGE = (Path(__file__).parents[2] / "docs" / "audit-elsewhere.md").read_text()
THEIRS, OURS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
COMMANDS = re.findall(r"^\$ lbench (audit .*)$", PAGE, flags=re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("their_train", "audit_net"):
        sys.modules.pop(name, None)


def audit(folder: Path, theirs: str, command: str) -> Result:
    for name in ("their_train", "audit_net"):
        sys.modules.pop(name, None)
    (folder / "their_train.py").write_text(theirs)
    (folder / "audit_net.py").write_text(OURS)
    return CliRunner().invoke(cli, shlex.split(command), standalone_mode=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_pages_step_is_contradicted_as_stated(folder: Path, command: str) -> None:
    done = audit(folder, THEIRS, command)
    assert done.return_value == 5, done.output
    reason = "update_locked: claimed no, measured yes"
    assert f"`{reason}`" in PAGE
    assert reason in done.stdout
    assert (folder / "audit.svg").exists() == ("--picture" in command)


def test_the_mended_step_is_as_claimed(folder: Path) -> None:
    mended = THEIRS.replace("model.block2(h)", "model.block2(h.detach())")
    assert mended != THEIRS
    done = audit(folder, mended, COMMANDS[0])
    assert done.return_value == 0, done.output
    assert "What was measured is what is claimed." in done.stdout


def test_the_file_is_short_and_the_table_has_every_name() -> None:
    assert len([line for line in OURS.splitlines() if line]) <= 12
    rows = re.findall(r"^\| `?([\w ]+)`? \|", PAGE, flags=re.MULTILINE)[1:]
    fields = [name for name in StepFile.__dataclass_fields__ if name != "step"]
    assert rows == ["the function", *fields]


def test_float32_by_name_inside_a_step_fails_and_the_inputs_dtype_mends_it(folder: Path) -> None:
    def weighted(weights: str) -> str:
        theirs = THEIRS.replace("h = model.block1(x)", f"h = model.block1(x @ {weights})")
        assert theirs != THEIRS
        return theirs

    done = audit(folder, weighted("torch.eye(784).float()"), COMMANDS[0])
    assert "dtype" in str(done.exception)
    lines = weighted("torch.eye(784).float()").splitlines()
    at = next(n for n, text in enumerate(lines, start=1) if ".float()" in text)
    assert f"their_train.py, line {at}: RuntimeError: " in str(done.exception)
    for weights in ("torch.eye(784)", "torch.eye(784).to(x.dtype)"):
        assert audit(folder, weighted(weights), COMMANDS[0]).return_value == 5
