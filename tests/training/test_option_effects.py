"""A configuration has its numbers per block, and a note on options that cannot act."""

from __future__ import annotations

from typing import Any

import pytest

from lbench.config import RuleConfig, param
from lbench.per_block import per_block_text, row_text
from lbench.training.option_effects import other_values, variants
from tests.training.helper import ask

ONE_WORKER: dict[str, Any] = {"network": "cnn", "network_options": {"widths": "10,10"}}


def test_a_configuration_has_the_numbers_of_workers_and_leaders_per_block() -> None:
    assert ask("lfnn_l", **ONE_WORKER).per_block == {"workers": [1, 1], "leaders": [1, 1]}
    assert ask("bp", **ONE_WORKER).per_block == {}


def test_an_option_that_was_set_and_cannot_act_has_a_note_with_a_remedy() -> None:
    (note,) = ask("lfnn_l", config={"leadership": 0.5}, **ONE_WORKER).notes
    assert note.startswith(
        "Option leadership cannot act: all of its values give the same rule here (workers per "
        "block: 1; leaders per block: 1). A worker takes 10 channels here"
    )
    assert "--set workers=5" in note


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ({}, []),
        ({"leadership": 0.5}, []),
        ({"leadership": 1.0, "lam": 2.0}, ["lam"]),
        ({"forward": "relu"}, ["forward"]),
    ],
    ids=str,
)
def test_only_options_without_effect_have_notes(config: dict[str, Any], options: list[str]) -> None:
    request = {"network": "cnn", "network_options": {"widths": "20"}, "config": config}
    notes = ask("lfnn_l", **request).notes
    assert [note.split()[1] for note in notes] == options


def test_values_to_compare_are_choices_or_numbers_near_and_at_the_limits() -> None:
    class Config(RuleConfig):
        share: float = param(0.5, low=0.0, high=1.0, search=(0.1, 0.9))
        count: int | None = param(None, low=1)
        fast: bool = param(False)
        name: str = param("a")

    assert other_values(Config, "share") == [0.5, 1.0, 0.25, 0.1, 0.9, 0.0]
    assert other_values(Config, "count") == [1, 2, 0, None]
    assert [config.count for config in variants(Config(), "count")] == [None, 1, 2]
    assert [config.fast for config in variants(Config(), "fast")] == [False, True]
    assert variants(Config(), "name") == [Config()]


def test_numbers_per_block_are_short_text() -> None:
    assert row_text([6, 6]) == "6"
    assert row_text([6, 6, 12]) == "6, 6, 12"
    assert row_text([16] * 9 + [0.5] + [32] * 9) == "16 (x9), 0.5, 32 (x9)"
    numbers = {"workers": [6, 12], "leaders": [4, 4]}
    assert per_block_text(numbers) == "workers per block: 6, 12; leaders per block: 4"
