"""What one setting changes on average over all cells that differ in nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lbench.report.answers.series import axes, series
from lbench.report.contrasts import Contrast, adjusted, paired_contrast
from lbench.report.lines import Line
from lbench.report.table import text
from lbench.studies.results import Results


@dataclass(frozen=True, slots=True)
class Effect:
    """The main effect of an axis with two values.

    Args:
        axis: the setting.
        where: dataset and network.
        pairs: of cells that differ in it alone.
        contrast: of the two values, each seed's mean over the pairs.
    """

    axis: str
    where: str
    pairs: int
    contrast: Contrast

    @property
    def words(self) -> str:
        """In a sentence."""
        return f"on {self.where}, over {self.pairs} pairs of cells: {self.contrast.words}"

    def as_dict(self) -> dict[str, Any]:
        """As ``answer.json`` has it."""
        return {
            "axis": self.axis,
            "where": self.where,
            "pairs": self.pairs,
            "contrast": self.contrast.as_dict(),
        }


def effects(results: Results) -> list[Effect]:
    """Of each axis with two values, its second value minus its first; p adjusted for them all."""
    found = []
    for axis in axes(results):
        by_place: dict[str, list[tuple[Any, Line, Any, Line]]] = {}
        for each in series(results, axis):
            if len(each.values) == 2:
                (a, b), (first, second) = each.values, each.lines
                by_place.setdefault(each.where, []).append((a, first, b, second))
        for where, pairs in by_place.items():
            a, _, b, _ = pairs[0]
            contrast = paired_contrast(
                _means([second for *_, second in pairs]),
                _means([first for _, first, *_ in pairs]),
                f"{axis}={text(b)}",
                f"{axis}={text(a)}",
                results.study.margin,
                # The mean of several cells moves by a fraction of one test example.
                pairs[0][1].row.step / len(pairs),
            )
            found.append(Effect(axis, where, len(pairs), contrast))
    tested = adjusted([effect.contrast for effect in found])
    return [replace(effect, contrast=each) for effect, each in zip(found, tested, strict=True)]


def _means(lines: list[Line]) -> Mapping[int, float]:
    """Each seed's mean over cells, of the seeds that all have finished."""
    common = set.intersection(*(set(line.row.errors) for line in lines))
    return {seed: sum(line.row.errors[seed] for line in lines) / len(lines) for seed in common}
