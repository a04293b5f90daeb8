"""The table of exit codes in docs/json.md has every exit code of the commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from lbench import errors
from lbench.auditing.report import Verdict
from lbench.cli.audit import EXIT_CODES
from lbench.cli.common import TIME_OVER_CODE

PAGE = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
ROWS = re.findall(r"^\| (\d+) \| ([^|]*)\| (.*) \|$", PAGE, flags=re.MULTILINE)


def test_each_code_has_one_line() -> None:
    assert [int(code) for code, _, _ in ROWS] == [0, 1, 2, 3, 4, 5, 6, TIME_OVER_CODE, 130]


def test_the_line_of_each_code_names_its_kinds_of_error() -> None:
    kinds = {
        value.kind: value.exit_code
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.LbenchError)
    }
    del kinds[errors.LbenchError.kind]  # no error is of the base class itself
    kinds |= {errors.SYSTEM: 1, "internal": 1, "interrupted": 130}
    table = {kind: int(code) for code, names, _ in ROWS for kind in re.findall(r"`(\w+)`", names)}
    assert table == kinds


def test_every_verdict_of_the_audit_has_a_code_that_no_error_has() -> None:
    assert set(EXIT_CODES) == set(get_args(Verdict))
    assert {code for code in EXIT_CODES.values() if code} == {5, 6}
    assert list(EXIT_CODES) == ["contradicted", "not measurable", "measured", "as claimed"]
