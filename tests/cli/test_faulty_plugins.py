"""A plugin whose code raises, exits or prints is reported, and never looks like a success."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.studies.helper import ALONE, lbench

RULES = {
    "Raises": "raise ValueError('no such kernel\\\\nmore of it')",
    "Exits": "sys.exit(0)",
    "Leaves": "os._exit(0)",
    "LeavesByName": "_exit(0)",
    "Interrupts": "raise KeyboardInterrupt",
    "Generator": "raise GeneratorExit",
    "Base": "raise BaseException('of its own')",
    "Recurses": "self.fault()",
    "Pipes": "raise BrokenPipeError",
    "Opens": "open('/no/such/file')",
    "Memory": "bytearray(10**16)",
    "TorchMemory": "torch.empty(10**16)",
    "Prints": "speak()",
}
HEAD = """
import ctypes, os, subprocess, sys
from functools import cache
from os import _exit
import torch
from lbench_bp.bp import Bp

@cache  # once says as much as in every step
def speak():
    print("python speaks")
    os.write(1, b"the descriptor speaks\\n")
    subprocess.run(["echo", "a child speaks"])
    ctypes.CDLL(None).dprintf(1, b"the library speaks\\n")
    if os.fork() == 0:
        os._exit(0)

print("import speaks")

class _Faulty(Bp):
    def loss(self, batch, s):
        if s.index >= 3:  # an audit's steps are few, and far into a run
            self.fault()
        return super().loss(batch, s)

class Late(Bp):
    def loss(self, batch, s):
        if s.index == 150:  # a study first times fewer steps than that
            os._exit(0)
        return super().loss(batch, s)

class ExitsInBuild(Bp):
    def build(self, init):
        sys.exit(0)

class RaisesInBuild(Bp):
    def build(self, init):
        raise ValueError("no such kernel")

class PrintsInBuild(Bp):
    def build(self, init):
        super().build(init)
        speak()
"""
FAULTY = HEAD + "".join(
    f"\nclass {name}(_Faulty):\n    def fault(self):\n        {code}\n"
    for name, code in RULES.items()
)
SMALL = ["--dataset", "digits", "--network", "mlp", "--net", "widths=8", "--epochs", "1"]


@pytest.fixture
def faulty(plugin: Path, tmp_path: Path) -> list[str]:
    """Arguments that take the faulty rules and a home."""
    plugin.write_text(FAULTY)
    return ["--plugin", str(plugin), "--home", str(tmp_path / "home")]


def lines_of(code: str) -> list[int]:
    lines = enumerate(FAULTY.splitlines(), start=1)
    return [number for number, line in lines if line == f"        {code}"]


SAID = {
    "raises": "ValueError: no such kernel",
    "exits": "SystemExit: 0",
    "leaves": "RuntimeError: os._exit(0) was called",
    "leaves_by_name": "RuntimeError: os._exit(0) was called",
    "interrupts": "KeyboardInterrupt was raised, but there was no interrupt",
    "generator": "GeneratorExit",
    "base": "BaseException: of its own",
    "recurses": "RecursionError: maximum recursion depth",
    "pipes": "BrokenPipeError",
    "opens": "FileNotFoundError",
    "memory": "out of memory",
    "torch_memory": "out of memory: ",
}


@pytest.mark.parametrize("rule", SAID)
def test_a_rule_that_fails_gives_reason_line_and_traceback(faulty: list[str], rule: str) -> None:
    code = dict(zip(SAID, RULES.values(), strict=False))[rule]
    said = lbench("run", "--rule", rule, *SMALL, "--threads", "1", "--no-store", *faulty, "--json")
    assert said.code == 1
    (run,) = said.json["runs"]
    assert run["status"] == "failed"
    assert SAID[rule] in run["reason"]
    assert run["reason"].endswith(f"(plugin_faulty.py:{lines_of(code)[-1]})")
    assert "in fault" in Path(run["traceback"]).read_text()
    assert f"Seed 0 failed: {run['reason']}" in said.err
    assert f"Traceback: {run['traceback']}\n" in said.err


def test_nothing_is_printed_of_runs_of_which_none_has_finished(faulty: list[str]) -> None:
    said = lbench("run", "--rule", "raises", *SMALL, "--threads", "1", "--no-store", *faulty)
    assert said.code == 1
    assert said.out == ""
    assert said.err.splitlines()[-1].startswith("Traceback: ")


@pytest.mark.slow
def test_a_study_says_where_a_rule_failed_and_where_the_traceback_is(
    faulty: list[str], tmp_path: Path
) -> None:
    study = tmp_path / "s.toml"
    study.write_text(
        'title = "T"\nquestion = "Q?"\nkind = "grid"\ndatasets = ["digits"]\nseeds = 1\n'
        'networks = ["mlp"]\nrules = ["late"]\n[set]\nepochs = 20\n"net.widths" = [8]\n'
    )
    said = lbench("study", str(study), *faulty, *ALONE, "--json")
    assert said.code == 1
    (how,) = said.json["unfinished"].values()
    (reason, traceback) = how.split("; traceback: ")
    assert reason.startswith("failed: RuntimeError: os._exit(0) was called")
    assert f"(plugin_faulty.py:{lines_of('    os._exit(0)')[0]})" in reason
    assert "in loss" in Path(traceback).read_text()
    assert how in said.err


@pytest.mark.parametrize("rule", ["exits_in_build", "raises_in_build"])
@pytest.mark.parametrize("command", ["run", "audit", "check", "study"])
def test_a_rule_that_cannot_be_built_is_never_a_success(
    faulty: list[str], tmp_path: Path, rule: str, command: str
) -> None:
    code = "sys.exit(0)" if rule == "exits_in_build" else 'raise ValueError("no such kernel")'
    line = lines_of(code)[0]
    plugin = faulty[:2]
    study = tmp_path / "s.toml"
    study.write_text(
        f'title = "T"\nquestion = "Q?"\nkind = "grid"\ndatasets = ["digits"]\nrules = ["{rule}"]\n'
    )
    words = {
        "run": ["run", "--rule", rule, *SMALL, *faulty, "--no-store"],
        "audit": ["audit", rule, *plugin],
        "check": ["check", rule, "--quick", *plugin],
        "study": ["study", str(study), *faulty, *ALONE],
    }[command]
    said = lbench(*words)
    assert said.code != 0
    assert f"plugin_faulty.py:{line}" in said.out + said.err
    if command == "run":
        assert "The code of a plugin raised it" in said.err


AT_ONCE = """
import os, sys
from lbench_bp.bp import Bp

class AtOnce(Bp):
    def loss(self, batch, s):
        {code}
"""


@pytest.mark.parametrize("code", ["os._exit(0)", "sys.exit(0)"])
def test_a_rule_that_exits_while_a_step_on_one_example_is_tried_fails_alone(
    plugin: Path, tmp_path: Path, code: str
) -> None:
    plugin.write_text(AT_ONCE.format(code=code))
    study = tmp_path / "s.toml"
    study.write_text(
        'title = "T"\nquestion = "Q?"\ndatasets = ["digits"]\nseeds = 1\n'
        '[set]\nepochs = 1\nbatch = 1437\n"net.widths" = [8]\n'
        '[[arms]]\nrule = "at_once"\nset = { "net.norm" = "batch" }\n[[arms]]\nrule = "bp"\n'
    )
    home = ["--plugin", str(plugin), "--home", str(tmp_path / "home")]
    # 1295 training examples in batches of 1294, 1438 in batches of 1437: one is left alone.
    small = [*SMALL, "--net", "norm=batch", "--batch", "1294", "--threads", "1", "--no-store"]
    run = lbench("run", "--rule", "at_once", *small, *home)
    assert run.code == 1
    assert "(plugin_faulty.py:7)" in run.err
    whole = lbench("study", str(study), *ALONE, *home, "--dry-run")
    assert whole.code == 0
    assert "2 points" in whole.err


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--rule", "prints", *SMALL, "--threads", "1", "--no-store"],
        ["run", "--rule", "prints_in_build", *SMALL, "--threads", "1", "--no-store"],
        ["audit", "prints"],
        ["check", "prints", "--quick"],
        ["rules", "prints"],
        ["plugins"],
    ],
    ids=lambda words: "-".join(words[:3:2]),
)
def test_what_a_rule_prints_is_no_part_of_the_json(
    faulty: list[str], words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    home = faulty if words[0] == "run" else faulty[:2]
    said = lbench(*words, *home, "--json")
    json.loads(said.out)
    out, err = capfd.readouterr()
    assert "import speaks" in said.err
    if words[0] in ("run", "audit", "check"):
        assert "python speaks" in said.err
        for who in ("descriptor", "child", "library"):
            assert f"{who} speaks" in err
    assert "speaks" not in out


PREDICTS = """
import torch
from lbench_bp.bp import Bp

class WholeGraph(Bp):
    pass

class NoGraph(Bp):
    def predict(self, x):
        with torch.no_grad():
            return super().predict(x)

class Inference(Bp):
    @torch.inference_mode()
    def predict(self, x):
        return super().predict(x)

class CutGraph(Bp):
    def predict(self, x):
        for block in self.network.blocks:
            x = block(x).detach()
        return self.network.readout(x)

class CannotPredict(Bp):
    def predict(self, x):
        raise ValueError("no such layer")
"""


def test_parameters_of_prediction_are_counted_without_a_graph(plugin: Path, tmp_path: Path) -> None:
    plugin.write_text(PREDICTS)
    words = [*SMALL, "--threads", "1", "--no-store", "--json"]
    where = ["--plugin", str(plugin), "--home", str(tmp_path / "home")]
    found = []
    for rule in ("whole_graph", "no_graph", "inference", "cut_graph"):
        said = lbench("run", "--rule", rule, *words, *where)
        assert said.code == 0, said.err
        found.append((said.json["params"], said.json["runs"][0]["test_error"]))
    assert found[1:] == found[:1] * 3
    assert found[0][0] == {"inf": 64 * 8 + 8 + 8 * 10 + 10, "aux": 0, "fix": 0}


def test_a_run_that_fails_before_its_first_step_says_only_that(
    plugin: Path, tmp_path: Path
) -> None:
    plugin.write_text(PREDICTS)
    where = ["--plugin", str(plugin), "--home", str(tmp_path / "home")]
    said = lbench("run", "--rule", "cannot_predict", *SMALL, "--threads", "1", *where)
    assert said.code == 1
    assert "ValueError: no such layer (plugin_faulty.py:" in said.err
    assert "Unknown configuration" not in said.err
