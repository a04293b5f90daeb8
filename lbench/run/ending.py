"""How a run ends: its last evaluations, what is kept of it, and what ``result.json`` holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lbench.auditing.verdict import verdict
from lbench.data.loader import DeviceData
from lbench.rule import Rule
from lbench.run.audited import audited
from lbench.run.cell import Cell
from lbench.run.clock import Clock
from lbench.run.evaluate import Evaluation, evaluate, predict_flops
from lbench.run.glances import Glances
from lbench.run.trainer import DivergedError, Trainer
from lbench.run.weights import BEST, LAST, read_weights, write_weights
from lbench.rundir import RunDir, damaged, without_nan, write_json


def finish(
    trainer: Trainer,
    test: Callable[[], DeviceData],
    run_dir: RunDir,
    about: Mapping[str, Any],
    *,
    trial: bool,
) -> dict[str, Any]:
    """Keeps the weights, and reads the test set for the last and the best-validation ones.

    A trial's run keeps validation logits instead, and leaves the test set alone.

    Args:
        test: the test set, which nothing has loaded before.
        about: what the files of weights say of themselves, as of :func:`weights.description`.
    """
    rule, clock, precision, best = trainer.rule, trainer.clock, trainer.precision, trainer.best
    with clock.measure("evaluation"):
        train = evaluate(rule, trainer.batches.data, precision)
        if not train.finite:
            raise DivergedError(trainer.index, train.loss, "training loss")
    write_weights(run_dir.path / LAST, rule.state_dict(), about)
    if best is not None:
        write_weights(run_dir.path / BEST, best.weights, about)
    result = {
        **so_far(trainer, "finished", None),
        "train_error": train.error,
        "predict_flops": predict_flops(rule, trainer.batches.data, precision),
    }
    if not trial:
        weights = None if best is None else best.weights
        return {**result, **_test(rule, test(), result, weights, precision, clock, run_dir)}
    if trainer.validation is not None:
        with clock.measure("evaluation"):
            validation = evaluate(rule, trainer.validation, precision)
        _keep(validation, run_dir, "val_logits.npy")
        labels = trainer.validation.labels.cpu().numpy().astype(np.int16)
        np.save(run_dir.path / "val_labels.npy", labels)
    return result


def untested(result: Mapping[str, Any]) -> bool:
    """Whether a run has finished as a trial: without a look at the test set."""
    return bool(result["status"] == "finished" and result["test_error"] is None)


def complete(
    cell: Cell,
    rule: Rule,
    test: DeviceData,
    run_dir: RunDir,
    result: Mapping[str, Any],
    note: Callable[[str], None],
) -> dict[str, Any]:
    """Makes a finished trial the run that it would have been otherwise; nothing is trained.

    Args:
        rule: as it is built, on its device.
        result: of the trial.

    Raises:
        DamagedError: its weights are not there, or damaged.
    """
    clock = Clock(test.device)
    clock.restore(result["seconds"])
    rule.load_state_dict(_weights(run_dir.path / LAST))
    best = None if result["best_epoch"] is None else _weights(run_dir.path / BEST)
    found = _test(rule, test, result, best, cell.precision, clock, run_dir)
    glances = Glances((), 0)
    glances.restore(result["glances"], result.get("files_opened", ()))
    content = {**result, **found, **audit(cell, rule, glances, clock, note, full=True)}
    write_json(run_dir.path / "result.json", content)
    return content


def audit(
    cell: Cell,
    rule: Rule,
    glances: Glances | None,
    clock: Clock,
    note: Callable[[str], None],
    *,
    full: bool,
) -> dict[str, Any]:
    """What the rule was seen to do, in this run and, in full, on a small network."""
    claims = rule.claims(cell.config, rule.network).as_dict()
    measured = audited(cell, rule.network, note) if full else None
    return {
        **verdict(
            claims,
            measured,
            glances.found if glances else [],
            glances.opened if glances else [],
        ),
        "glances": glances.as_list() if glances else [],
        "files_opened": list(glances.opened) if glances else [],
        "seconds": clock.seconds(),
    }


def so_far(trainer: Trainer, status: str, reason: str | None) -> dict[str, Any]:
    """What a result holds of a run that has come to an end of any kind."""
    rows = trainer.run_dir.epochs()
    return {
        **ended(status, reason),
        "val_error": rows[-1]["val_error"] if rows and status == "finished" else None,
        "test_reads": trainer.reads.count,
        "best_epoch": trainer.best.epoch if trainer.best else None,
        "seconds": trainer.clock.seconds(),
        "step_ms": trainer.pace.step_ms,
        "core_share": trainer.pace.core_share,
        "peak_memory_mib": trainer.peak.mib(),
        "step_memory_mib": trainer.step_memory.mib,
        "step_flops": trainer.step_flops.flops,
        "steps": trainer.index,
        "epochs": len(rows),
    }


def ended(status: str, reason: str | None) -> dict[str, Any]:
    """What ``result.json`` holds of a run of which nothing else is known."""
    unknown = (
        "train_error",
        "val_error",
        "test_error",
        "test_error_at_best_val",
        "best_epoch",
        "seconds",
        "step_ms",
        "core_share",
        "peak_memory_mib",
        "step_memory_mib",
        "step_flops",
        "predict_flops",
        "steps",
        "epochs",
    )
    return {
        "status": status,
        "reason": reason,
        **dict.fromkeys(unknown),
        "test_reads": 0,
        "audit": None,
        "contradictions": [],
        "glances": [],
        "files_opened": [],
        "ended": time.time(),
    }


def _test(
    rule: Rule,
    test: DeviceData,
    result: Mapping[str, Any],
    best_weights: Mapping[str, Tensor] | None,
    precision: str,
    clock: Clock,
    run_dir: RunDir,
) -> dict[str, Any]:
    """Errors on the test set: of the rule as it is, and with the best-validation weights."""
    with clock.measure("evaluation"):
        last = evaluate(rule, test, precision)
    _keep(last, run_dir, "test_logits.npy")
    np.save(run_dir.path / "test_labels.npy", test.labels.cpu().numpy().astype(np.int16))
    found = {
        "test_error": last.error,
        "test_loss": without_nan(last.loss),
        "test_reads": result["test_reads"] + 1,
    }
    if best_weights is not None:
        best = last
        if result["best_epoch"] != result["epochs"]:
            rule.load_state_dict(best_weights)
            with clock.measure("evaluation"):
                best = evaluate(rule, test, precision)
            found["test_reads"] += 1
        _keep(best, run_dir, "test_logits_best_val.npy")
        found["test_error_at_best_val"] = best.error
    return found


def _keep(result: Evaluation, run_dir: RunDir, name: str) -> None:
    np.save(run_dir.path / name, result.logits.numpy())


def _weights(path: Path) -> dict[str, Tensor]:
    try:
        return read_weights(path)
    except FileNotFoundError:
        raise damaged(path, "it is gone") from None
    except ValueError:
        raise damaged(path, "its checksum does not match") from None
