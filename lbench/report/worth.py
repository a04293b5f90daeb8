"""The gain of tuning: what a search chose against the defaults, paired by seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lbench.output.table import percent
from lbench.report.compare.row import rows
from lbench.report.differences import Difference, adjusted, paired_difference, tally
from lbench.statistics.intervals import Summary
from lbench.studies.results import Final, SearchResult, StudyData

MOST = 4
"""An answer has a sentence per search for up to this number; beyond, it counts verdicts."""


@dataclass(frozen=True, slots=True)
class Worth:
    """The configuration that a search chose against the defaults.

    Args:
        words: a sentence.
        chosen_minus_defaults: test errors over common seeds, in points; None where there are none,
            and where the defaults were chosen.
        defaults: the test error of the defaults in percent, over seeds; None where unknown.
        val_error: the validation error of the defaults as a trial; None where they were none.
        same: whether the search chose the defaults.
    """

    words: str
    chosen_minus_defaults: Difference | None
    defaults: Summary | None
    val_error: float | None
    same: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        difference = self.chosen_minus_defaults
        return {
            "chosen": self.same,
            "val_error": self.val_error,
            "test_error": self.defaults and self.defaults.as_dict(),
            "difference": difference and difference.as_dict(),
        }


def worths(results: StudyData) -> dict[str, Worth]:
    """Compare what each search chose with the defaults; by the point's key.

    Searches without a complete trial are left out. The p of several are adjusted (Holm 1979).
    """
    finals = {final.point.key: final for final in results.finals}
    chosen = {s.point.key: s for s in results.searches if s.best is not None}
    differences = {}
    for key, search in chosen.items():
        final = finals.get(key)
        if final is not None and search.defaults is not None and not _same(search, final):
            ours, theirs = rows([(entry.cell, entry.runs) for entry in (final, search.defaults)])
            differences[key] = paired_difference(
                ours.errors, theirs.errors, "chosen", "defaults", results.study.margin, ours.step
            )
    known = dict(zip(differences, adjusted(list(differences.values())), strict=True))
    return {key: _worth(s, finals.get(key), known.get(key)) for key, s in chosen.items()}


def sentences(results: StudyData) -> list[str]:
    """Return a sentence per search for an answer, or for many how often tuning helped."""
    found = worths(results)
    if len(results.searches) == 1:
        return [worth.words for worth in found.values()]
    if len(found) <= MOST:
        return [f"{key}: {worth.words}" for key, worth in found.items()]
    differences = [w.chosen_minus_defaults for w in found.values() if w.chosen_minus_defaults]
    same = sum(worth.same for worth in found.values())
    words = f"Test error of what {len(found)} searches chose against the defaults: "
    words += tally(differences) if differences else "not compared"
    return [words + (f"; {same} chose the defaults." if same else ".")]


def _same(search: SearchResult, final: Final | None) -> bool:
    """Return whether the search chose the defaults, as their trial or by suggesting the same."""
    if search.best is not None and search.best.defaults:
        return True
    defaults = search.defaults
    return final is not None and defaults is not None and defaults.cell == final.cell


def _worth(search: SearchResult, final: Final | None, difference: Difference | None) -> Worth:
    trial = next((trial for trial in search.trials if trial.defaults), None)
    val_error = trial.values[0] if trial and trial.values else None
    same = _same(search, final)
    source = final if same else search.defaults
    defaults = None if source is None else rows([(source.cell, source.runs)])[0].test
    if same:
        words = "The search chose the defaults: no other trial has a lower validation error."
    elif difference is None or difference.points is None:
        words = "Not compared with the defaults: no seed is finished with both."
    else:
        theirs = f"; the defaults have {percent(defaults.mean)} %" if defaults else ""
        words = f"{SAID[difference.verdict]} ({difference.numbers}{theirs})."
    return Worth(words, difference, defaults, val_error, same)


SAID: Mapping[str, str] = {
    "lower": "The chosen configuration has a lower test error than the defaults",
    "higher": "The chosen configuration has a higher test error than the defaults",
    "equal": "The chosen configuration and the defaults have equal test errors within the margin",
    "undecided": "Whether the chosen configuration has a lower test error is undecided",
}
