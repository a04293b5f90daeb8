"""A plugin whose code raises, exits or prints is reported, and its run never counts as finished."""

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
    """Return the arguments that name the file of faulty rules and a home."""
    plugin.write_text(FAULTY)
    return ["--plugin", str(plugin), "--home", str(tmp_path / "home")]


def lines_of(code: str) -> list[int]:
    lines = enumerate(FAULTY.splitlines(), start=1)
    return [number for number, line in lines if line == f"        {code}"]


REASONS = {
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


@pytest.mark.parametrize("rule", REASONS)
def test_a_rule_that_fails_gives_reason_line_and_traceback(faulty: list[str], rule: str) -> None:
    code = dict(zip(REASONS, RULES.values(), strict=False))[rule]
    output = lbench(
        "run", "--rule", rule, *SMALL, "--threads", "1", "--no-store", *faulty, "--json"
    )
    assert output.code == 1
    (run,) = output.json["runs"]
    assert run["status"] == "failed"
    assert REASONS[rule] in run["reason"]
    assert run["reason"].endswith(f"(plugin_faulty.py:{lines_of(code)[-1]})")
    assert "in fault" in Path(run["traceback"]).read_text()
    assert f"Seed 0 failed: {run['reason']}" in output.err
    assert f"Traceback: {run['traceback']}\n" in output.err


def test_no_table_is_printed_if_no_run_has_finished(faulty: list[str]) -> None:
    output = lbench("run", "--rule", "raises", *SMALL, "--threads", "1", "--no-store", *faulty)
    assert output.code == 1
    assert output.out == ""
    assert output.err.splitlines()[-1].startswith("Traceback: ")


@pytest.mark.slow
def test_a_study_names_the_line_of_a_failed_rule_and_its_traceback(
    faulty: list[str], tmp_path: Path
) -> None:
    study = tmp_path / "s.toml"
    study.write_text(
        'title = "T"\nquestion = "Q?"\nkind = "grid"\ndatasets = ["digits"]\nseeds = 1\n'
        'networks = ["mlp"]\nrules = ["late"]\n[set]\nepochs = 20\n"net.widths" = [8]\n'
    )
    output = lbench("study", str(study), *faulty, *ALONE, "--json")
    assert output.code == 1
    (failure,) = output.json["unfinished"].values()
    (reason, traceback) = failure.split("; traceback: ")
    assert reason.startswith("failed: RuntimeError: os._exit(0) was called")
    assert f"(plugin_faulty.py:{lines_of('    os._exit(0)')[0]})" in reason
    assert "in loss" in Path(traceback).read_text()
    assert failure in output.err


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
    output = lbench(*words)
    assert output.code != 0
    assert f"plugin_faulty.py:{line}" in output.out + output.err
    if command == "run":
        assert "The code of a plugin raised it" in output.err


AT_ONCE = """
import os, sys
from lbench_bp.bp import Bp

class AtOnce(Bp):
    def loss(self, batch, s):
        {code}
"""


@pytest.mark.parametrize("code", ["os._exit(0)", "sys.exit(0)"])
def test_a_rule_that_exits_in_the_check_of_a_batch_of_one_example_fails_alone(
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
    # 1295 training examples in batches of 1294, and 1438 in batches of 1437: the last batch has
    # one example.
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
def test_output_of_a_rule_is_not_part_of_the_json(
    faulty: list[str], words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    home = faulty if words[0] == "run" else faulty[:2]
    output = lbench(*words, *home, "--json")
    json.loads(output.out)
    out, err = capfd.readouterr()
    assert "import speaks" in output.err
    if words[0] in ("run", "audit", "check"):
        assert "python speaks" in output.err
        for source in ("descriptor", "child", "library"):
            assert f"{source} speaks" in err
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
    home = ["--plugin", str(plugin), "--home", str(tmp_path / "home")]
    results = []
    for rule in ("whole_graph", "no_graph", "inference", "cut_graph"):
        output = lbench("run", "--rule", rule, *words, *home)
        assert output.code == 0, output.err
        results.append((output.json["params"], output.json["runs"][0]["test_error"]))
    assert results[1:] == results[:1] * 3
    assert results[0][0] == {"inf": 64 * 8 + 8 + 8 * 10 + 10, "aux": 0, "fix": 0}


def test_a_run_that_fails_before_its_first_step_reports_only_its_own_error(
    plugin: Path, tmp_path: Path
) -> None:
    plugin.write_text(PREDICTS)
    home = ["--plugin", str(plugin), "--home", str(tmp_path / "home")]
    output = lbench("run", "--rule", "cannot_predict", *SMALL, "--threads", "1", *home)
    assert output.code == 1
    assert "ValueError: no such layer (plugin_faulty.py:" in output.err
    assert "Unknown configuration" not in output.err
