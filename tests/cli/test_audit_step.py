"""Tests of ``lbench audit --step``: the audit of the training step of a file."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from lbench.api.progress import DelayedProgress
from lbench.auditing import step_file
from lbench.cli.audit import command
from lbench.errors import UsageError

PLAIN = """
import torch
from torch import nn
from torch.nn import functional as F

model = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
batch = torch.randn(14, 20), torch.arange(14) % 3


def step(model, batch):
    x, y = batch
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
"""
FREE = "\nimport lbench\nclaims = lbench.Claims(transport='none', backward_depth=0)\n"


@pytest.fixture(autouse=True)
def clean(tmp_path: Path) -> Iterator[None]:
    """Remove the modules and the folder of an audited file from ``sys`` after the test."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str, name: str = "audited_net.py") -> None:
    (folder / name).write_text(text)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(
        command, ["--step", "audited_net.py:step", *arguments], standalone_mode=False
    )


def test_a_plain_step_is_measured_and_nothing_is_claimed(folder: Path) -> None:
    write(folder, PLAIN)
    done = call("--json")
    assert done.return_value == 0, done.output
    content = json.loads(done.stdout)
    assert content["step"] == "audited_net.py:step"
    assert content["verdict"] == "measured"
    assert content["audit"]["transport"] == {"measured": "full"}
    assert content["units"] == ["0", "2"]


def test_a_claim_in_the_file_is_compared_and_the_picture_drawn(folder: Path) -> None:
    write(folder, PLAIN + FREE)
    done = call("--picture", "audit.svg")
    assert done.return_value == 5
    assert "CONTRADICTED  transport: claimed none, measured full" in done.stdout
    drawing = (folder / "audit.svg").read_text()
    assert ">CONTRADICTED  transport: claimed none, measured full" in drawing  # text as text


def test_a_claim_that_is_not_measurable_gives_exit_code_6(folder: Path) -> None:
    text = """
import torch
from torch import nn
from torch.nn import functional as F
import lbench

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(20, 16)
        self.matrix = nn.Parameter(0.1 * torch.randn(3, 16))

    def forward(self, x):
        return F.linear(self.first(x).relu(), self.matrix)

model = Net()
batch = torch.randn(14, 20), torch.arange(14) % 3
units = {"first": [model.first], "rest": [model]}
claims = lbench.Claims(transport="none")

def step(model, batch):
    x, y = batch
    h = model.first(x).relu().detach()
    error = torch.softmax(h @ model.matrix.T, 1) - F.one_hot(y, 3)
    with torch.no_grad():
        model.matrix -= 0.1 * error.T @ h
        model.first.weight -= 0.1 * (error @ torch.linspace(-1, 1, 3 * 16).view(3, -1).to(x)).T @ x
"""
    write(folder, text)
    done = call()
    assert done.return_value == 6, done.output
    assert "Not measurable: BP-free" in done.stdout


def test_the_same_seed_gives_the_same_weights(folder: Path) -> None:
    write(folder, PLAIN + "\nprint('WEIGHT', model[0].weight[0, 0].item())\n")
    lines = [call("--seed", seed).stderr.splitlines()[0] for seed in ("1", "1", "2")]
    assert lines[0] == lines[1] != lines[2]
    assert lines[0].startswith("WEIGHT")  # output of the file goes to standard error


def test_modules_next_to_the_file_can_be_imported_and_main_is_not_run(folder: Path) -> None:
    write(folder, PLAIN, "their_script.py")
    write(
        folder,
        "import sys\nfrom their_script import batch, model, optimizer, step\n"
        "assert len(sys.argv) == 1\nif __name__ == '__main__':\n    raise SystemExit\n",
    )
    assert call().return_value == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nraise ValueError('no such corpus')", "audited_net.py, line 2: ValueError: no"),
        ("x = 1\ny = (", "audited_net.py, line 2: SyntaxError"),
        ("import no_such_module", "line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("import other", "other.py, line 3: KeyError"),
        ("import sys\nsys.exit(3)", "line 2: SystemExit: 3 The file ends the process when it"),
        ("import argparse\np = argparse.ArgumentParser()\np.add_argument('data')\np.parse_args()",
         "line 4: SystemExit"),
        (PLAIN.replace("def step", "def stepp"), "no function 'step'. It has stepp."),
        (PLAIN.replace("def step", "def _").replace("optimizer =", "step ="),
         "step in audited_net.py is a SGD, not a function"),
        (PLAIN.replace("(model, batch)", "(model, x, y)"),
         "step(model, x, y) in audited_net.py cannot be called as step(model, batch). Write a"),
        (PLAIN.replace("(model, batch)", "()"), "cannot be called as step(model, batch)"),
        (PLAIN.replace("model", "net"), "no variable model. It has net; write: model = net"),
        (PLAIN + "\nmodel = 3", "model in audited_net.py is an int, not a torch.nn.Module"),
        (PLAIN + "\ndel batch", "no variable batch. Write in it: batch = inputs, labels"),
        (PLAIN + "\nbatch = batch[0]", "batch in audited_net.py is a Tensor, not a pair"),
        (PLAIN + "\nbatch = *batch, 3", "is a tuple of 3, not a pair"),
        (PLAIN + "\nbatch = batch[0], [1, 2]", "The labels of batch in audited_net.py are a list"),
        (PLAIN + "\nbatch = batch[0], torch.tensor(3)", "labels of batch in audited_net.py are a"),
        (PLAIN + "\nbatch = batch[0], batch[1][:3]", "has 14 inputs, but 3 labels"),
        (PLAIN + "\nbatch = batch[0][:5], batch[1][:5]", "at least 14 rows, but got 5"),
        (PLAIN + "\nunits = [model[0]]", "units in audited_net.py is a list, not a dictionary"),
        (PLAIN + "\nunits = {'a': model[0], 'b': [3]}", "is no list of modules"),
        (PLAIN + "\npredict = 3", "predict in audited_net.py is an int, not a function"),
        (PLAIN + "\nclaims = {'transport': 'none'}", "claims in audited_net.py is a dict"),
        (PLAIN.replace("model(x)", "model(x.float())"), "line 14: RuntimeError: mat1"),
    ],
)  # fmt: skip
def test_each_mistake_in_a_file_has_its_message(folder: Path, text: str, message: str) -> None:
    write(folder, "\n\n{}['a']\n", "other.py")
    write(folder, text)
    done = call()
    assert isinstance(done.exception, UsageError), done.output
    error = done.exception
    assert message in f"{error.message} {error.hint}"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("audited_net.py", "Write it as FILE.py:FUNCTION"),
        ("audited_net.py:", "Write it as FILE.py:FUNCTION"),
        ("audited_net.py:a step", "Write it as FILE.py:FUNCTION"),
        ("missing.py:step", "There is no file missing.py"),
        ("random.py:step", "has the name of another module"),
        ("audited-net.py:step", "has not the name of a Python module. Rename the file"),
    ],
)
def test_a_wrong_file_has_its_message(folder: Path, step: str, message: str) -> None:
    for name in ("audited_net.py", "random.py", "audited-net.py"):
        write(folder, PLAIN, name)
    done = CliRunner().invoke(command, ["--step", step], standalone_mode=False)
    assert isinstance(done.exception, UsageError)
    assert message in f"{done.exception.message} {done.exception.hint}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bp"], "A rule's name is for the audit of rules"),
        (["--network", "cnn"], "--network is for the audit of rules"),
        (["--set", "a=1"], "--set is for the audit of rules"),
        (["--markdown"], "--markdown is for the audit of rules"),
        (["--picture", "a.gif"], ".svg, .png or .pdf"),
    ],
)
def test_options_of_rules_are_refused_for_a_step(
    folder: Path, arguments: list[str], message: str
) -> None:
    write(folder, PLAIN)
    done = call(*arguments)
    assert isinstance(done.exception, click.UsageError)
    assert message in done.exception.format_message()


def test_a_script_that_trains_during_its_import_is_named_with_its_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_file, "PATIENCE", 0.05)
    write(folder, "import time\ntime.sleep(0.4)\n" + PLAIN)
    done = call()
    assert done.return_value == 0
    assert "audited_net.py is still being imported after 0.05 s, at audited_net.py, line 2" in (
        done.stderr
    )
    assert "if __name__ == '__main__'" in done.stderr


def test_a_quick_audit_shows_no_progress(folder: Path) -> None:
    write(folder, PLAIN)
    assert call().stderr == ""


def test_a_slow_measurement_is_shown_with_its_elapsed_time() -> None:
    stream = io.StringIO()
    with DelayedProgress("bp", after=0.05, stream=stream) as display:
        display.show("2 of 6: dependence of updates on later units")
        time.sleep(0.25)
    lines = stream.getvalue().splitlines()
    assert 1 <= len(lines) <= 4
    assert lines[0] == "bp  2 of 6: dependence of updates on later units  0 s"
