"""The comparison of configurations that ``lbench compare`` prints, and the terms that differ."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lbench.published.numbers import Published, published
from lbench.report.compare.difference import RowDifference, differences
from lbench.report.compare.row import Row, rows
from lbench.store.rows import CellRow, Pairs, RunRow


@dataclass(frozen=True, slots=True)
class Term:
    """A term in which configurations differ, with its value for each of them, in order."""

    name: str
    values: Sequence[Any]

    def as_dict(self, ids: Sequence[str]) -> dict[str, Any]:
        """Return the object that ``--json`` prints, for configurations with these ids."""
        return {"what": self.name, "values": dict(zip(ids, self.values, strict=True))}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison of configurations.

    Args:
        rows: one per configuration.
        differences: differences of all configurations but the first to the first.
        unequal: terms that differ and have to be the same in a fair comparison.
        recipes: settings of the recipe that differ; a rule may have its own recipe.
        published: published numbers of each rule with its options, apart from the rows.
    """

    rows: Sequence[Row]
    differences: Sequence[RowDifference]
    unequal: Sequence[Term]
    recipes: Sequence[Term]
    published: Sequence[Published]

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as ``--json`` prints it."""
        ids = [row.cell.cell_id for row in self.rows]
        return {
            "cells": [row.as_dict() for row in self.rows],
            "differences": [
                {"cell": difference.row.cell.cell_id, "minus": ids[0], **difference.as_dict()}
                for difference in self.differences
            ],
            "unequal": [term.as_dict(ids) for term in self.unequal],
            "recipes": [term.as_dict(ids) for term in self.recipes],
            "published": [row.as_dict() for row in self.published],
        }


def compare(pairs: Pairs) -> Comparison:
    """Return the comparison of these configurations with the first of them."""
    lines = rows(pairs)
    recipes = differing([cell.spec.get("recipe", {}) for cell, _ in pairs])
    numbers: dict[Published, None] = {}
    for cell, _ in pairs:
        config = cell.spec.get("rule", {}).get("config", {})
        numbers |= dict.fromkeys(published(cell.rule, cell.dataset, config))
    return Comparison(
        lines, differences(lines, pairs), unequal(lines, pairs), recipes, list(numbers)
    )


def unequal(lines: Sequence[Row], pairs: Pairs) -> list[Term]:
    """Return the terms that differ: task, precision, network options, code, seeds and machine."""
    terms = differing([_terms(cell.spec) for cell, _ in pairs])
    for same, name, value in CONDITIONAL:
        # Configurations of one network must agree on its options; those of different ones cannot.
        known: dict[Any, set[str]] = collections.defaultdict(set)
        for cell, _ in pairs:
            known[same(cell)].add(str(value(cell)))
        if any(len(values) > 1 for values in known.values()):
            terms.append(Term(name, [value(cell) for cell, _ in pairs]))
    terms += differing([{"seeds": sorted(line.errors)} for line in lines])
    terms += differing([_machines(runs) for _, runs in pairs])
    return terms


CONDITIONAL: list[tuple[Callable[[CellRow], Any], str, Callable[[CellRow], Any]]] = [
    (lambda cell: cell.rule, "code of the rule", lambda cell: cell.rule_code[:8]),
    (
        lambda cell: cell.network,
        "network options",
        lambda cell: {**cell.spec.get("network", {}).get("options", {}), "blocks": cell.blocks},
    ),
]


def _terms(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the terms of a specification except rule, recipe and network, with readable names."""
    others = {k: v for k, v in spec.items() if k not in ("rule", "recipe", "network", "task")}
    # A specification has no share of labels where all are used.
    terms = _flat({"labels": 1, **spec.get("task", {}), **others})
    if "digest" in terms:
        terms["data digest"] = str(terms.pop("digest"))[:12]
    return terms


def _machines(runs: Iterable[RunRow]) -> dict[str, Any]:
    """Return devices, threads and versions of the finished runs, on which times depend."""
    found: dict[str, set[str]] = collections.defaultdict(set)
    for run in runs:
        if run.status == "finished":
            for name, value in run.environment.items():
                found[name].add(str(value))
    return {name: ", ".join(sorted(values)) for name, values in found.items()}


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key} ")
        else:
            flat[prefix + key] = value
    return flat


def differing(contents: Sequence[Mapping[str, Any]]) -> list[Term]:
    """Return the terms that are not equal in all contents."""
    names = dict.fromkeys(name for content in contents for name in content)
    terms = [Term(name, [content.get(name) for content in contents]) for name in names]
    return [term for term in terms if any(value != term.values[0] for value in term.values)]
