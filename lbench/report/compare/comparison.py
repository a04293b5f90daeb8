"""The comparison of configurations that ``lbench compare`` prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lbench.report.compare.difference import RowDifference, differences
from lbench.report.compare.row import Pairs, Row, rows
from lbench.report.compare.terms import Term, recipes, unequal
from lbench.report.published import Published, published


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
    return Comparison(
        lines,
        differences(lines, pairs),
        unequal(lines, pairs),
        recipes(pairs),
        _published(lines),
    )


def _published(lines: Iterable[Row]) -> list[Published]:
    found: dict[Published, None] = {}
    for line in lines:
        config = line.cell.spec.get("rule", {}).get("config", {})
        found |= dict.fromkeys(published(line.cell.rule, line.cell.dataset, config))
    return list(found)
