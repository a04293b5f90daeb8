"""The object that ``lbench run --json`` prints of a configuration (``docs/json.md``)."""

from __future__ import annotations

from typing import Any

from lbench.execute.driver import RunOutcome
from lbench.published.numbers import published
from lbench.quantities import unmeasured
from lbench.rundir import RunDir
from lbench.statistics.intervals import error_interval
from lbench.store.audits import all_contradictions, worst
from lbench.training.resolve import Resolved


def describe(resolved: Resolved, outcomes: list[RunOutcome]) -> dict[str, Any]:
    """Return the object, with errors in percent, times in seconds and memory in MiB."""
    cell = resolved.cell
    config = cell.config.model_dump(mode="json")
    finished = [o.result for o in outcomes if o.result["status"] == "finished"]
    test, top5 = (
        error_interval((result.get(name) for result in finished), len(resolved.dataset.test))
        for name in ("test_error", "test_error_top5")
    )
    return {
        "rule": cell.rule,
        "config": config,
        "recipe": cell.recipe.model_dump(mode="json"),
        "dataset": cell.task.dataset,
        "title": cell.data["title"],
        "variant": cell.data["variant"],
        "notes": [*resolved.notes, *resolved.dataset.notes],
        "network": cell.network,
        "blocks": cell.blocks,
        "protocol": cell.protocol,
        "epochs": None,
        **cell.budget.as_dict(),
        "augmentation": cell.augmentation,
        "labels": cell.labels,
        "precision": cell.precision,
        "microbatch": cell.microbatch,
        "test_examples": len(resolved.dataset.test),
        "cell": cell.id,
        "runs": [_run_json(outcome) for outcome in outcomes],
        "test_error": test and test.as_dict(),
        "test_error_top5": top5 and top5.as_dict(),
        "published": [row.as_dict() for row in published(cell.rule, cell.task.dataset, config)],
        "params": outcomes[0].params if outcomes else None,
        "per_block": {name: list(row) for name, row in resolved.per_block.items()},
        "audit": worst(outcome.result.get("audit") for outcome in outcomes),
        "contradictions": all_contradictions(
            outcome.result.get("contradictions") or [] for outcome in outcomes
        ),
    }


def _run_json(outcome: RunOutcome) -> dict[str, Any]:
    result = {k: v for k, v in outcome.result.items() if k != "ended"}
    traceback = RunDir(outcome.run_dir).traceback
    return {
        "seed": outcome.seed,
        "status": result.pop("status"),
        "reason": result.pop("reason"),
        "traceback": str(traceback) if traceback.exists() else None,
        "cached": outcome.cached,
        "attempt": outcome.attempt,
        "fingerprint": outcome.fingerprint,
        # Runs that an older lbench made lack some of these.
        **unmeasured(),
        "audit": None,
        "contradictions": [],
        "glances": [],
        "files_opened": [],
        **result,
        "run_dir": str(outcome.run_dir),
        "mlflow_run_id": outcome.mlflow_run_id,
    }
