"""The full audit of what a cell trains with: once per code, options and network, then cached."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lbench.auditing import AUDIT
from lbench.auditing.rules import audit_class
from lbench.data.cache import directory
from lbench.errors import DamagedError, LbenchError
from lbench.network import Chain, Network
from lbench.run import raised
from lbench.run.cell import SEMANTICS, Cell
from lbench.rundir import read_json, write_json


def audited(cell: Cell, network: Network, note: Callable[[str], None]) -> dict[str, Any] | None:
    """``audit`` and ``contradictions`` of the cell's rule on a small network of its family.

    Args:
        network: what the cell trains.
        note: told before the rule is audited, and when it cannot be.

    Returns:
        None when the rule cannot be audited there.
    """
    blocks = _regrouped(network)
    path = directory() / "audits" / f"{key(cell, blocks)}.json"
    if (kept := _kept(path)) is not None:
        return kept
    note(f"Auditing {cell.rule} on a small network.")
    try:
        report = audit_class(
            cell.rule_class,
            cell.config,
            cell.network_spec,
            cell.rule,
            cell.network,
            blocks=blocks,
            dropout=cell.recipe.dropout,
        )
        full = {"audit": report.as_dict(), "contradictions": report.contradictions}
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # Whatever the rule does there, the run itself has ended well.
        why = error.message if isinstance(error, LbenchError) else raised.reason(error)
        note(f"Not audited: {why}")
        return None
    _keep(path, full)
    return full


def key(cell: Cell, blocks: int | None) -> str:
    """SHA-256 in hex of all that the audit of a cell depends on."""
    spec = cell.network_spec
    content = {
        "audit": AUDIT,
        "semantics": SEMANTICS,
        "rule": _name(cell.rule_class),
        "code": cell.code,
        "config": cell.config.model_dump(mode="json"),
        "network": _name(type(spec)),
        "network_code": cell.network_code,
        # Widths and depth are those of the small network, whatever the cell's are.
        "options": {**spec.model_dump(mode="json"), **spec.small},
        "blocks": blocks,
        "dropout": cell.recipe.dropout,
    }
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _regrouped(network: Network) -> int | None:
    """How many blocks the user cut the network into; None for the network's own."""
    blocks = network.blocks
    return len(blocks) if any(isinstance(block, Chain) for block in blocks) else None


def _name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _kept(path: Path) -> dict[str, Any] | None:
    try:
        content = read_json(path)
    except (DamagedError, OSError):
        return None
    return content if content and {"audit", "contradictions"} <= set(content) else None


def _keep(path: Path, full: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, full)
    except OSError:
        return  # the next run audits again
