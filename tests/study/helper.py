"""Small studies of digits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lbench.study.definition import Arm, Study


def study(*arms: Arm, settings: dict[str, Any] | None = None, **changes: Any) -> Study:
    """A grid of digits.

    Args:
        settings: of all arms.
        changes: fields of the study.
    """
    arms = tuple(replace(arm, settings={**(settings or {}), **arm.settings}) for arm in arms)
    values: dict[str, Any] = {"datasets": ("digits",), "seeds": 1, **changes}
    return Study("s", "Title", "Which?", "grid", arms, **values)
