"""The average effect of a setting over all configurations that differ in nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lbench.output.table import text
from lbench.report.answers.series import Series, axes, series
from lbench.report.differences import Difference, adjusted, paired_difference
from lbench.report.lines import Line
from lbench.studies.results import StudyResults


@dataclass(frozen=True, slots=True)
class Effect:
    """The main effect of an axis with two values.

    Args:
        axis: the setting.
        where: dataset and network.
        pairs: number of pairs of configurations that differ in it alone.
        difference: of the two values, by the means over the pairs of each seed.
    """

    axis: str
    where: str
    pairs: int
    difference: Difference

    @property
    def words(self) -> str:
        """Return the effect as text."""
        return (
            f"on {self.where}, over {self.pairs} pairs of configurations: {self.difference.words}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the object that ``answer.json`` has."""
        return {
            "axis": self.axis,
            "where": self.where,
            "pairs": self.pairs,
            "contrast": self.difference.as_dict(),
        }


def effects(results: StudyResults) -> list[Effect]:
    """Return the effect of each axis with two values, second minus first; p by Holm over all."""
    made = []
    for axis in axes(results):
        setups: dict[str, list[Series]] = {}
        for entry in series(results, axis):
            if len(entry.values) == 2:
                setups.setdefault(entry.where, []).append(entry)
        made += [_effect(where, pairs, results.study.margin) for where, pairs in setups.items()]
    tested = adjusted([effect.difference for effect in made])
    return [replace(effect, difference=entry) for effect, entry in zip(made, tested, strict=True)]


def _effect(where: str, pairs: list[Series], margin: float | None) -> Effect:
    axis, (a, b) = pairs[0].axis, pairs[0].values
    first, second = ([entry.lines[at] for entry in pairs] for at in (0, 1))
    # The mean of several configurations changes by a fraction of one test example.
    step = first[0].row.step / len(pairs)
    names = f"{axis}={text(b)}", f"{axis}={text(a)}"
    difference = paired_difference(_means(second), _means(first), *names, margin, step)
    return Effect(axis, where, len(pairs), difference)


def _means(lines: list[Line]) -> Mapping[int, float]:
    """Return the mean over configurations by seed, for the seeds that all have finished."""
    common = set.intersection(*(set(line.row.errors) for line in lines))
    return {seed: sum(line.row.errors[seed] for line in lines) / len(lines) for seed in common}
