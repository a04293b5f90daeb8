"""The page on the audit: its example prints what it states, and its table has every claim."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lbench.auditing.report import CONDUCT
from lbench.claims import Claims

PAGE = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()


def test_the_example_finds_the_missing_detach(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "audit.md", "exec"), {"__name__": "example"})
    printed = capsys.readouterr().out.strip()
    depth, _, evidence = printed.partition(" ")
    assert f"It prints `{depth}` and `{evidence}`" in PAGE

    mended = code.replace("model.block2(h)", "model.block2(h.detach())")
    assert mended != code
    exec(compile(mended, "audit.md", "exec"), {"__name__": "example"})
    assert capsys.readouterr().out.startswith("1 ")


def test_the_table_explains_every_measurement() -> None:
    first = {line.split("|")[1].strip().lower() for line in PAGE.splitlines() if "|" in line}
    words = {name.replace("_", " ") for name in [*Claims().as_dict(), *CONDUCT]}
    same = {"bp free": "bp-free", "update locked": "update-locked"}
    assert {same.get(word, word) for word in words} <= first
