"""One step of each rule agrees with an implementation from outside lbench."""

from __future__ import annotations

import re

import pytest

from tests.agreement.__main__ import COLUMNS, table
from tests.agreement.recorded import CASES, FOLDER, Case, deviation, deviations, measure

PAGE = FOLDER.parents[1] / "docs" / "rules" / "agreement.md"
DIFFERENT = [case for case in CASES if case.arrays["differs"]]


def name(case: Case) -> str:
    return f"{case.rule}-{case.name}"


@pytest.mark.parametrize("case", CASES, ids=name)
def test_a_step_agrees_with_the_recorded_one(case: Case) -> None:
    found, _ = measure(case)
    far = deviations(case, found)
    assert far
    tolerance = case.meta["tolerance"]
    assert {each: value for each, value in far.items() if value > tolerance} == {}
    # A step that is 1 % larger is noticed in every result that is not 0 by symmetry.
    enlarged = deviations(case, {each: value * 1.01 for each, value in found.items()})
    small = {each for each, value in enlarged.items() if value <= tolerance}
    assert all(found[each].abs().max() < 1e-9 for each in small)


@pytest.mark.parametrize("case", DIFFERENT, ids=name)
def test_a_documented_difference_is_still_there(case: Case) -> None:
    found, _ = measure(case)
    assert max(deviation(found[each], value) for each, value in case.arrays["differs"].items()) > 1


def test_every_fixture_says_where_its_numbers_come_from() -> None:
    rules = {case.rule for case in CASES}
    assert {path.stem for path in FOLDER.glob("*.md")} == {*rules, "README"}
    for case in CASES:
        repository, _, commit = case.meta["source"].rpartition(" ")
        assert re.fullmatch(r"[0-9a-f]{40}", commit)
        assert commit in (FOLDER / f"{case.rule}.md").read_text(encoding="utf-8")
        assert repository


def rows(text: str) -> dict[str, dict[str, str]]:
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    head, _, *body = lines
    assert tuple(head) == COLUMNS
    return {line[0]: dict(zip(COLUMNS, line, strict=True)) for line in body}


def test_the_page_lists_exactly_the_fixtures_and_what_was_measured() -> None:
    told, measured = rows(PAGE.read_text(encoding="utf-8")), rows(table())
    assert list(told) == list(measured)
    for rule, row in measured.items():
        # Rounding differs from machine to machine: a deviation is held to the tolerance alone.
        for each in set(COLUMNS) - {"largest deviation"}:
            assert told[rule][each] == row[each], (rule, each)
        for value, tolerance in zip(
            told[rule]["largest deviation"].split(", "), row["tolerance"].split(", "), strict=True
        ):
            assert float(value) <= float(tolerance)
