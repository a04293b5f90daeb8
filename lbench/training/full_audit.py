"""The full audit of a configuration's rule: once per code, options and network, then cached."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lbench.auditing import AUDIT
from lbench.auditing.rules import audit_class, fewer_layers
from lbench.data.cache import directory
from lbench.errors import DamagedError, LbenchError
from lbench.network import Chain, Network
from lbench.rundir import read_json, write_json
from lbench.training import plugin_errors
from lbench.training.cell import SEMANTICS, Cell

USUAL_SECONDS = 3.0
"""Seconds that the audit takes where it is not cached, for estimates: 1 to 3 were measured."""


def expected_seconds(cell: Cell, blocks: int | None) -> float:
    """Return the seconds that the full audit of a configuration is expected to take.

    Args:
        blocks: number of blocks, from :func:`regrouped`.
    """
    return USUAL_SECONDS if _read_cached(_cache_path(cell, blocks)) is None else 0.0


def full_audit(cell: Cell, network: Network, note: Callable[[str], None]) -> dict[str, Any] | None:
    """Audit a configuration's rule on a small network of its family.

    Args:
        network: the network that the configuration trains.
        note: called with a sentence before the audit, and when there can be none.

    Returns:
        A dictionary with ``audit`` and ``contradictions``; None when the rule cannot be audited
        on the small network.
    """
    blocks = regrouped(network)
    path = _cache_path(cell, blocks)
    if (cached := _read_cached(path)) is not None:
        return cached
    note(f"Auditing {cell.rule} on a small network.")
    try:
        report = audit_class(
            cell.rule_class,
            cell.config,
            cell.network_spec,
            cell.rule,
            cell.network,
            blocks=blocks,
            frozen=cell.frozen_encoder,
            dropout=cell.recipe.dropout,
        )
        full = {"audit": report.as_dict(), "contradictions": report.contradictions}
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # An error of the rule on the small network does not change that the run has ended well.
        why = error.message if isinstance(error, LbenchError) else plugin_errors.reason(error)
        note(f"Not audited: {why}")
        return None
    _write_cached(path, full)
    return full


def _cache_path(cell: Cell, blocks: int | None) -> Path:
    return directory() / "audits" / f"{cache_key(cell, blocks)}.json"


def cache_key(cell: Cell, blocks: int | None) -> str:
    """Return the SHA-256 (hex) of all that the audit of a configuration depends on."""
    spec = cell.network_spec
    content = {
        "audit": AUDIT,
        "semantics": SEMANTICS,
        "rule": _name(cell.rule_class),
        "code": cell.code,
        "config": cell.config.model_dump(mode="json"),
        "network": _name(type(spec)),
        "network_code": cell.network_code,
        # Widths and depth are those of the small network, not those of the configuration.
        "options": {**spec.model_dump(mode="json"), **spec.small},
        **({"fewer": fewer} if (fewer := fewer_layers(spec)) else {}),
        "blocks": blocks,
        "dropout": cell.recipe.dropout,
        **({"encoder": "fixed"} if cell.frozen_encoder else {}),
    }
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def regrouped(network: Network) -> int | None:
    """Return the number of blocks that the user asked for; None for the network's own blocks."""
    blocks = network.blocks
    return len(blocks) if any(isinstance(block, Chain) for block in blocks) else None


def _name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _read_cached(path: Path) -> dict[str, Any] | None:
    try:
        content = read_json(path)
    except (DamagedError, OSError):
        return None
    return content if content and {"audit", "contradictions"} <= set(content) else None


def _write_cached(path: Path, full: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, full)
    except OSError:
        return  # the next run audits again
