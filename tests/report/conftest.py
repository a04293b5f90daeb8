from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from lbench.home import Home
from lbench.rundir import RunDir, write_json
from lbench.store.record import Record
from tests.report.studies import Trained, train, without_figures

SPEC: dict[str, Any] = {
    "semantics": 1,
    "rule": {"name": "bp", "code": "c0de" * 16, "config": {}},
    "recipe": {"optimizer": "adam", "lr": 0.001},
    "network": {"name": "mlp-275k", "options": {"widths": [260, 260]}, "blocks": None},
    "task": {
        "dataset": "mnist",
        "options": {},
        "digest": "da7a" * 16,
        "protocol": "strict",
        "validation": 0.1,
        "augmentation": "",
        "budget": {"epochs": 15},
    },
    "precision": "fp32",
}


class FakeHome:
    """A home whose runs were made up, in the files that real runs write."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.record = Record.open(self.home)

    def run(
        self,
        name: str = "bp",
        /,
        seed: int = 0,
        error: float | None = 2.0,
        *,
        status: str = "finished",
        reason: str | None = None,
        options: str = "",
        data: dict[str, Any] | None = None,
        environment: dict[str, Any] | None = None,
        result: dict[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        """Adds a run; ``changes`` go into the parts of the spec. Returns the cell's id."""
        spec = copy.deepcopy(SPEC)
        spec["rule"]["name"] = name
        for part, values in changes.items():
            spec[part] = {**spec[part], **values} if isinstance(values, dict) else values
        names = [name, spec["task"]["dataset"], spec["network"]["name"], *filter(None, [options])]
        key = f"{abs(hash(repr(sorted(spec.items())) + options)):016x}"
        cell_id = f"{'/'.join(names)}@{key[:8]}"
        directory = RunDir(self.home.runs / key / f"seed-{seed}")
        directory.path.mkdir(parents=True)
        write_json(
            directory.path / "spec.json",
            {
                "format": 1,
                "fingerprint": f"{key}-{seed}",
                "cell": key,
                "cell_id": cell_id,
                "attempt": 1,
                "seed": seed,
                "spec": spec,
                "params": {"inf": 274_570, "aux": 0, "fix": 0},
                "claims": {},
                "data": {
                    "title": "MNIST",
                    "variant": "canonical",
                    "digest": spec["task"]["digest"],
                    "test": 10_000,
                    **(data or {}),
                },
                "environment": environment or {"device": "cpu", "threads": 2},
                "started": 0.0,
            },
        )
        write_json(
            directory.path / "result.json",
            {
                "status": status,
                "reason": reason,
                "test_error": error,
                "test_error_at_best_val": error,
                "step_ms": 2.0,
                "peak_memory_mib": 400.0,
                "test_reads": 2,
                "ended": 1.0,
                **(result or {}),
            },
        )
        self.record.take(directory)
        return cell_id

    def pairs(self) -> list[tuple[Any, Any]]:
        return [(cell, self.record.runs(cell)) for cell in self.record.cells()]


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHome:
    monkeypatch.delenv("LBENCH_STORE", raising=False)
    return FakeHome(tmp_path / "home")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A grid and a search on digits, trained once; one arm diverges."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LBENCH_STORE", raising=False)
        return train(tmp_path_factory.mktemp("studies"))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without figures."""
    without_figures(monkeypatch)


@pytest.fixture
def own_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports with the figures that the study names, and no others."""
    monkeypatch.setattr("lbench.report.study.ALWAYS", ())
