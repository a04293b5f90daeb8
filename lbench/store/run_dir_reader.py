"""The reader of run directories: it returns the values of the record's rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from lbench.errors import DamagedError
from lbench.quantities import measured
from lbench.run_files import Spec, problem
from lbench.rundir import RunDir, damaged, denied, without_nan
from lbench.store.rows import RunRow

FORMAT = 1
DAMAGE = (DamagedError, OSError, ValueError, TypeError, LookupError, AttributeError)
"""Exceptions that reading a damaged file raises."""
ABANDONED = "ended without a result; the same command continues from its checkpoint"


def read(run_dir: RunDir, runs: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values of the configuration's row and of the run's, without MLflow's ids.

    A run without ``result.json`` is ``running`` while a process holds the directory's lock, and
    ``killed`` otherwise.

    Args:
        run_dir: the directory to read.
        runs: the home's folder of run directories; a path in it is stored relative to it, so that
            a home can be moved.

    Raises:
        DamagedError: a file is missing, damaged or of another format.
        DeniedError: a file may not be read.
    """
    try:
        spec = run_dir.spec()
        if spec is None:
            raise DamagedError(f"{run_dir.path} has no spec.json.")
        if spec["format"] != FORMAT:
            raise DamagedError(
                f"{run_dir.path} has format {spec['format']!r}; this lbench reads {FORMAT}.",
                "Use the lbench that wrote it, or a newer one.",
            )
        if wrong := problem(Spec, spec):
            raise damaged(run_dir.path / "spec.json", wrong)
        # Checked before the result is read: a run that ends in between then has its result.
        held = run_dir.held()
        return _cell(spec), _run(spec, run_dir.result(), held, run_dir, runs)
    except DamagedError:
        raise
    except PermissionError as error:
        raise denied(Path(error.filename or run_dir.path)) from None
    except KeyError as error:
        wrong = f"{error} is missing"
    except DAMAGE as error:
        wrong = f"{type(error).__name__}: {error}"
    raise DamagedError(
        f"{run_dir.path} cannot be read ({wrong}).",
        "Repair or move the directory; the other runs are not affected.",
    )


def with_current_status(row: RunRow) -> RunRow:
    """Return a running row as killed if no process works on the run any more.

    A process that was killed could not record its end.
    """
    run_dir = RunDir(row.run_dir)
    if row.status != "running":
        return row
    try:
        if not run_dir.path.exists():  # it may be on another machine
            return row
        # The lock is checked first: if there is a result, the driver is about to record it.
        if run_dir.held() or (run_dir.path / "result.json").exists():
            return row
        ended = _last_written(run_dir)
    except OSError:  # the directory of another user
        return row
    return dataclasses.replace(row, status="killed", reason=ABANDONED, ended=ended)


def _cell(content: dict[str, Any]) -> dict[str, Any]:
    spec, data, params = content["spec"], content["data"], content.get("params") or {}
    return {
        "fingerprint": content["cell"],
        "cell_id": content["cell_id"],
        "rule": spec["rule"]["name"],
        "rule_code": spec["rule"]["code"],
        "dataset": spec["task"]["dataset"],
        "dataset_title": data["title"],
        "variant": data["variant"],
        "data_digest": data["digest"],
        "network": spec["network"]["name"],
        "blocks": spec["network"].get("blocks"),
        "protocol": spec["task"]["protocol"],
        "test_examples": data.get("test"),
        "spec": without_nan(spec),
        "params_inf": params.get("inf"),
        "params_aux": params.get("aux"),
        "params_fix": params.get("fix"),
        "claims": without_nan(content.get("claims") or {}),
        "per_block": without_nan(content.get("per_block")),
    }


def _run(
    spec: dict[str, Any], result: dict[str, Any] | None, held: bool, run_dir: RunDir, runs: Path
) -> dict[str, Any]:
    if result is None:
        status, reason, ended = "running", None, None
        if not held:
            status, reason, ended = "killed", ABANDONED, _last_written(run_dir)
        result = {}
    else:
        status, reason, ended = result["status"], result.get("reason"), result["ended"]
    path = run_dir.path.absolute()
    return {
        "fingerprint": spec["fingerprint"],
        "attempt": spec["attempt"],
        "cell": spec["cell"],
        "seed": spec["seed"],
        "status": status,
        "reason": reason,
        **measured(result),
        "audit": _audit(result.get("audit")),
        "contradictions": list(result.get("contradictions") or []),
        "environment": without_nan(spec.get("environment") or {}),
        "run_dir": (path.relative_to(runs) if path.is_relative_to(runs) else path).as_posix(),
        "started": spec.get("started"),
        "ended": ended,
    }


def _audit(value: dict[str, Any] | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {
        name: {which: entry.get(which) for which in ("claimed", "measured")}
        for name, entry in value.items()
    }


def _last_written(run_dir: RunDir) -> float | None:
    files = [path for path in (run_dir.path / "spec.json", run_dir.epoch_log) if path.exists()]
    return max((path.stat().st_mtime for path in files), default=None)
