"""``benchmarks/audit.py`` measures each configuration once, resumes, and counts errors."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.auditing.cheats import CHEATS

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "path", list(sys.path))  # the program adds the repository to it
    for name in ("audit", "timing"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module("audit")
    yield module
    for name in ("audit", "timing"):
        sys.modules.pop(name, None)


def run(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["audit.py", "--seeds", "1", *arguments])
    status: int = benchmark.main()
    return status


def test_an_interrupted_benchmark_resumes(
    benchmark: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = tmp_path / "audit.jsonl"
    options = ["--networks", "mlp;grouped", "--cheats", "", "--results", str(results)]
    assert run(benchmark, monkeypatch, "--rules", "frozen", *options) == 0
    first = results.read_text()
    assert [json.loads(line)["outcome"] for line in first.splitlines()] == ["as claimed"] * 2
    results.write_text(first[:-9])  # as after a crash within a line
    assert run(benchmark, monkeypatch, "--rules", "frozen", *options) == 0
    output = capsys.readouterr().out
    assert "1 of 2 audits are in" in output
    assert "0 false alarms in 2 audits" in output
    lines = results.read_text().splitlines()
    assert len(lines) == 3
    assert json.loads(lines[-1])["network"] == "grouped"


def test_every_rule_meets_every_network_with_the_seeds_that_are_named(
    benchmark: ModuleType,
) -> None:
    runs = benchmark.rule_runs(["bp", "dfa"], ["mlp", "grouped"], 20)
    seeds = {(c.name, c.network): c.seed + 1 for c in runs}
    assert seeds == {
        ("bp", "mlp"): 20, ("dfa", "mlp"): 20, ("bp", "grouped"): 20, ("dfa", "grouped"): 5,
    }  # fmt: skip
    assert {"bp", "fa", "forward_forward"} <= benchmark.families()


def test_contradictions_and_crashes_are_bad_and_refusals_are_not(
    benchmark: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"outcome": "contradicted", "contradictions": ["transport: claimed none"]}
    records = [
        {"outcome": "as claimed", "contradictions": [], "unmeasured": ["transport"]},
        wrong,
        wrong,
        {"outcome": "refused", "why": "It needs a norm."},
        {"outcome": "failed", "why": "ValueError: 3"},
    ]
    runs = [benchmark.AuditRun("rule", "bp", "mlp", seed) for seed in range(len(records))]
    results_by_run = {c: {**r, "seconds": 1.0} for c, r in zip(runs, records, strict=True)}
    assert benchmark.false_alarms(results_by_run) == 3
    output = capsys.readouterr().out
    assert "bp on mlp: transport: claimed none\n    contradicted with seeds 1-2" in output
    assert "2 false alarms in 3 audits" in output


def test_a_cheat_is_caught_by_its_own_claim_alone(
    benchmark: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "labels read in predict"
    assert CHEATS[name][1] == "prediction"
    texts = ["prediction: claimed clean", "writes: claimed own"]
    results_by_run = {
        benchmark.AuditRun("cheat", name, "mlp", seed, module="cheats"): {"contradictions": [text]}
        for seed, text in enumerate(texts)
    }
    assert benchmark.missed(results_by_run) == 1
    assert f"{name}: caught in 1 of 2" in capsys.readouterr().out


def test_results_outlive_a_sentence_and_not_a_statement(benchmark: ModuleType) -> None:
    plain = "x = 1\ndef f():\n    return 1\n"
    described = (
        '"""A module."""\nx = 1  # one\n"""One."""\ndef f():\n    """Return 1."""\n    return 1\n'
    )
    assert benchmark.code(described) == benchmark.code(plain)
    assert benchmark.code(plain.replace("x = 1", "x = 2")) != benchmark.code(plain)
