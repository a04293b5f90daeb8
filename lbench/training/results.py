"""The end of a run: its last evaluations, the files that it keeps, and ``result.json``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lbench.auditing.verdict import verdict
from lbench.data.loader import DeviceData
from lbench.quantities import unmeasured
from lbench.rule import Rule
from lbench.rundir import RunDir, damaged, without_nan, write_json
from lbench.training.cell import Cell
from lbench.training.clock import Clock
from lbench.training.evaluation import Evaluation, evaluate, predict_flops, training_error
from lbench.training.full_audit import full_audit
from lbench.training.glances import Glances
from lbench.training.trainer import DivergedError, Trainer
from lbench.training.weights import BEST, LAST, read_weights, write_weights


def finish(
    trainer: Trainer,
    test: Callable[[], DeviceData],
    run_dir: RunDir,
    about: Mapping[str, Any],
    *,
    trial: bool,
) -> dict[str, Any]:
    """Save the weights, and measure the test errors of the last and the best-validation weights.

    A trial saves its validation logits instead and does not read the test set.

    Args:
        test: returns the test set, which no code has loaded before.
        about: description of the weights, from :func:`lbench.training.weights.description`.

    Raises:
        DivergedError: the training loss is NaN or infinite.
    """
    rule, clock, precision, best = trainer.rule, trainer.clock, trainer.precision, trainer.best
    with clock.measure("evaluation"):
        train_error, train_loss = training_error(rule, trainer.batches.data, precision)
        if not math.isfinite(train_loss):
            raise DivergedError(trainer.index, train_loss, "training loss")
    write_weights(run_dir.path / LAST, rule.state_dict(), about)
    if best is not None:
        write_weights(run_dir.path / BEST, best.weights, about)
    result = {
        **result_so_far(trainer, "finished", None),
        "train_error": train_error,
        "predict_flops": predict_flops(rule, trainer.batches.data, precision),
    }
    if not trial:
        weights = None if best is None else best.weights
        return {**result, **_test(rule, test(), result, weights, precision, clock, run_dir)}
    if trainer.validation is not None:
        with clock.measure("evaluation"):
            validation = evaluate(rule, trainer.validation, precision)
        _save_logits(validation, run_dir, "val_logits.npy")
        labels = trainer.validation.labels.cpu().numpy().astype(np.int16)
        np.save(run_dir.path / "val_labels.npy", labels)
    return result


def finished_as_trial(result: Mapping[str, Any]) -> bool:
    """Return whether a run has finished as a trial, without reading the test set."""
    return bool(result["status"] == "finished" and result["test_error"] is None)


def complete(
    cell: Cell,
    rule: Rule,
    test: DeviceData,
    run_dir: RunDir,
    result: Mapping[str, Any],
    note: Callable[[str], None],
) -> dict[str, Any]:
    """Add to a finished trial what a run of a table has beyond it; nothing is trained.

    Args:
        rule: the rule with initial weights, on its device.
        result: result of the trial.

    Raises:
        DamagedError: the weights of the trial are missing or damaged.
    """
    clock = Clock(test.device)
    clock.restore(result["seconds"])
    rule.load_state_dict(_weights(run_dir.path / LAST))
    best = None if result["best_epoch"] is None else _weights(run_dir.path / BEST)
    errors = _test(rule, test, result, best, cell.precision, clock, run_dir)
    glances = Glances((), 0)
    glances.restore(result["glances"], result.get("files_opened", ()))
    content = {**result, **errors, **audit(cell, rule, glances, clock, note, full=True)}
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
    """Return what the audit measured in this run and, if ``full``, on a small network."""
    claims = rule.claims(cell.config, rule.network).as_dict()
    measured = full_audit(cell, rule.network, note) if full else None
    return {
        **verdict(
            claims,
            measured,
            glances.results if glances else [],
            glances.opened if glances else [],
        ),
        "glances": glances.as_list() if glances else [],
        "files_opened": list(glances.opened) if glances else [],
        "seconds": clock.seconds(),
    }


def result_so_far(trainer: Trainer, status: str, reason: str | None) -> dict[str, Any]:
    """Return the result of a run that has ended with this status, as far as it is known."""
    rows = trainer.run_dir.epochs()
    last = rows[-1] if rows and status == "finished" else {}
    return {
        **empty_result(status, reason),
        "val_error": last.get("val_error"),
        "val_error_top5": last.get("val_error_top5"),
        "test_reads": trainer.test_reads.count,
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


def empty_result(status: str, reason: str | None) -> dict[str, Any]:
    """Return the content of ``result.json`` for a run of which only the status is known."""
    return {
        "status": status,
        "reason": reason,
        **unmeasured(),
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
    """Measure the errors on the test set with the last and the best-validation weights."""
    with clock.measure("evaluation"):
        last = evaluate(rule, test, precision)
    _save_logits(last, run_dir, "test_logits.npy")
    np.save(run_dir.path / "test_labels.npy", test.labels.cpu().numpy().astype(np.int16))
    errors = {
        "test_error": last.error,
        "test_error_top5": last.top5,
        "test_loss": without_nan(last.loss),
        "test_reads": result["test_reads"] + 1,
    }
    if best_weights is not None:
        best = last
        if result["best_epoch"] != result["epochs"]:
            rule.load_state_dict(best_weights)
            with clock.measure("evaluation"):
                best = evaluate(rule, test, precision)
            errors["test_reads"] += 1
        _save_logits(best, run_dir, "test_logits_best_val.npy")
        errors["test_error_at_best_val"] = best.error
        errors["test_error_top5_at_best_val"] = best.top5
    return errors


def _save_logits(result: Evaluation, run_dir: RunDir, name: str) -> None:
    np.save(run_dir.path / name, result.logits.numpy())


def _weights(path: Path) -> dict[str, Tensor]:
    try:
        return read_weights(path)
    except FileNotFoundError:
        raise damaged(path, "it is missing") from None
    except ValueError:
        raise damaged(path, "its checksum does not match") from None
