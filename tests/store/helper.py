"""Helpers that write run directories without training."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from lbench.home import Home
from lbench.rundir import RunDir, write_json

STARTED = 1_790_000_000.0


def digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def cell_spec(
    rule: str = "lfnn_l", dataset: str = "mnist", /, *, code: str = "c0de", **config: Any
) -> dict[str, Any]:
    return {
        "semantics": 1,
        "rule": {"name": rule, "code": code, "config": config or {"leadership": 0.7}},
        "recipe": {
            "optimizer": "adam",
            "lr": 0.001,
            "weight_decay": 0.0,
            "schedule": "constant",
            "batch": 128,
            "dropout": 0.0,
        },
        "network": {"name": "mlp-275k", "options": {"width": 256, "depth": 2}, "blocks": 2},
        "task": {
            "dataset": dataset,
            "digest": digest(dataset),
            "protocol": "strict",
            "validation": 0.1,
            "budget": {"epochs": 15},
            "augmentation": "",
        },
        "precision": "fp32",
    }


def write_run(
    home: Home,
    seed: int = 0,
    *,
    spec: dict[str, Any] | None = None,
    status: str = "finished",
    reason: str | None = None,
    attempt: int = 1,
    epochs: int = 15,
    **changes: Any,
) -> RunDir:
    """Write a run directory; ``killed`` has no result, ``changes`` replace values of the result."""
    spec = spec or cell_spec()
    cell = digest(spec)
    rule, task = spec["rule"], spec["task"]
    options = ",".join(f"{key}={value}" for key, value in rule["config"].items())
    name = f"{rule['name']}/{task['dataset']}/{spec['network']['name']}/{options}@{cell[:8]}"
    tail = f"seed-{seed}" if attempt == 1 else f"seed-{seed}.attempt-{attempt}"
    run_dir = RunDir(home.runs / name.replace("/", "_") / tail)
    run_dir.path.mkdir(parents=True, exist_ok=True)
    content = {
        "format": 1,
        "fingerprint": digest([cell, seed]),
        "cell": cell,
        "cell_id": name,
        "attempt": attempt,
        "seed": seed,
        "spec": spec,
        "params": {"inf": 274_570, "aux": 0, "fix": 0},
        "claims": {"bp_free": True, "backward_depth": 0, "update_locked": False},
        "per_block": {"workers": [26, 26], "leaders": [18, 18]},
        "data": {
            "title": task["dataset"].upper(),
            "variant": "canonical",
            "digest": task["digest"],
            "train": 54_000,
            "validation": 6_000,
            "test": 10_000,
            "classes": 10,
        },
        "environment": {
            "lbench": "0.1.0",
            "torch": "2.13.0",
            "python": "3.11.9",
            "device": "cpu",
            "threads": 1,
        },
        "started": STARTED + 60 * seed,
    }
    write_json(run_dir.path / "spec.json", content)
    lines = [epoch_line(epoch, seed) for epoch in range(1, epochs + 1)]
    run_dir.epoch_log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    if status != "killed":
        good = status == "finished"
        result = {
            "status": status,
            "reason": reason,
            "train_error": 0.1 if good else None,
            "val_error": lines[-1]["val_error"] if lines else None,
            "test_error": 1.8 + 0.05 * seed if good else None,
            "test_error_at_best_val": 1.79 + 0.05 * seed if good else None,
            "best_epoch": epochs,
            "seconds": {"training": 2.0 * epochs, "evaluation": 0.8, "other": 0.3},
            "step_ms": 3.1,
            "peak_memory_mib": 412.0,
            "steps": 422 * epochs,
            "epochs": epochs,
            "test_reads": 2 if good else 0,
            "ended": STARTED + 60 * seed + 2.1 * epochs + 1,
        }
        write_json(run_dir.path / "result.json", result | changes)
    return run_dir


def epoch_line(epoch: int, seed: int) -> dict[str, Any]:
    fall = math.exp(-epoch / 4)
    return {
        "epoch": epoch,
        "step": 422 * epoch,
        "phase": "train",
        "lr": 0.001,
        "train_loss": 0.05 + 0.6 * fall + 0.002 * seed,
        "val_loss": 0.08 + 0.5 * fall + 0.003 * seed,
        "val_error": 1.9 + 6 * fall + 0.07 * seed,
        "seconds": {"training": 2.0 * epoch, "evaluation": 0.05 * epoch, "other": 0.02 * epoch},
        "leaders": {"0": [0.5, 0.5]},
    }
