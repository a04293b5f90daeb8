"""All that ``lbench compare`` says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lbench.report.compare.difference import Difference, differences
from lbench.report.compare.row import Pairs, Row, rows
from lbench.report.compare.terms import Term, recipes, unequal
from lbench.report.published import Published, published


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that ``lbench compare`` says.

    Args:
        differences: of each cell but the first to the first.
        unequal: terms that would have to be the same for a fair comparison.
        recipes: what differs in how the cells are optimised; a rule may have its own.
        published: of each rule and its options; never in one column with the rows.
    """

    rows: Sequence[Row]
    differences: Sequence[Difference]
    unequal: Sequence[Term]
    recipes: Sequence[Term]
    published: Sequence[Published]

    def as_dict(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        ids = [row.cell.cell_id for row in self.rows]
        return {
            "cells": [row.as_dict() for row in self.rows],
            "differences": [
                {"cell": each.row.cell.cell_id, "minus": ids[0], **each.as_dict()}
                for each in self.differences
            ],
            "unequal": [term.as_dict(ids) for term in self.unequal],
            "recipes": [term.as_dict(ids) for term in self.recipes],
            "published": [row.as_dict() for row in self.published],
        }


def compare(pairs: Pairs) -> Comparison:
    """Everything about these cells; the first is what the others are held against."""
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
