"""Options are checked, converted from text and listed as they are declared."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest

from lbench.config import Options, param
from lbench.errors import UsageError
from lbench.studies.definition import Span
from lbench.studies.space import declared_domain


class Config(Options):
    leadership: float = param(0.7, low=0.1, high=1.0, step=0.1, help="Share that leads")
    workers: int = param(10, low=1)
    selection: Literal["batch", "example", "epoch"] = param("batch")
    widths: tuple[int, ...] | None = param(None)
    milestones: tuple[float, ...] = param((0.5, 0.75))
    scale: float = param(1.0)
    bias: bool = param(True)


def parse(**settings: Any) -> Config:
    return Config.parse(settings, what="rule mine", listing="See: lbench rules mine")


def refusal(**settings: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse(**settings)
    return caught.value


def test_a_search_may_be_narrower_than_the_allowed_range() -> None:
    class Wide(Options):
        share: float = param(0.7, low=0.0, high=1.0, step=0.1, search=(0.1, 1.0))
        weight: float = param(1.0, low=0.0, search=(0.0, 100.0))

    assert Wide(share=0.05, weight=1000).model_dump() == {"share": 0.05, "weight": 1000}
    assert declared_domain(Wide, "share") == Span(0.1, 1.0, 0.1)
    assert declared_domain(Wide, "weight") == Span(0.0, 100.0)
    with pytest.raises(UsageError, match=r"a number from 0 to 1, but got 1\.5"):
        Wide.parse({"share": 1.5}, what="rule wide", listing="")


def test_the_error_for_an_unknown_option_has_the_nearest_name() -> None:
    error = refusal(leadershp=0.5)
    assert error.message == "Unknown option of rule mine 'leadershp'."
    assert error.hint == "Did you mean leadership? See: lbench rules mine"
    assert error.exit_code == 2


def test_an_option_of_a_rule_without_options_is_refused() -> None:
    with pytest.raises(UsageError, match="Rule bp has no options, but got 'lr'"):
        Options.parse({"lr": 1}, what="rule bp", listing="")


def test_one_number_is_a_tuple_of_one() -> None:
    assert parse(widths=300) == parse(widths="300") == parse(widths=(300,))
    assert parse(workers=3).workers == 3


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"leadership": 1.5}, "a number from 0.1 to 1, but got 1.5"),
        ({"leadership": "much"}, "a number from 0.1 to 1, but got 'much'"),
        ({"workers": 0}, "a whole number of at least 1, but got 0"),
        ({"workers": "2.5"}, "a whole number of at least 1, but got '2.5'"),
        ({"selection": "step"}, "batch, example or epoch, but got 'step'"),
        ({"widths": "300,x"}, "whole numbers, separated by commas or none, but got '300,x'"),
        ({"bias": "maybe"}, "true or false, but got 'maybe'"),
    ],
)
def test_the_error_for_a_value_out_of_range_has_the_range(
    settings: dict[str, Any], expected: str
) -> None:
    error = refusal(**settings)
    (name,) = settings
    assert error.message == f"Option {name} of rule mine must be {expected}."
    assert error.hint == "See: lbench rules mine"


@pytest.mark.parametrize(
    "settings",
    [{"leadership": True}, {"workers": True}, {"widths": True}, {"milestones": (0.5, True)}],
    ids=str,
)
def test_true_is_no_number(settings: dict[str, Any]) -> None:
    assert "but got" in refusal(**settings).message


@pytest.mark.parametrize(
    ("value", "fitting"),
    [
        ({"leadership": 1}, True),
        ({"leadership": "0.5"}, False),
        ({"leadership": [0.5]}, False),
        ({"workers": 3}, True),
        ({"workers": 3.0}, False),
        ({"workers": "3"}, False),
        ({"selection": "batch"}, True),
        ({"selection": 1}, False),
        ({"widths": [300, 200]}, True),
        ({"widths": 300}, True),
        ({"widths": "none"}, True),
        ({"widths": "300,200"}, False),
        ({"widths": [[300]]}, False),
        ({"bias": False}, True),
        ({"bias": 0}, False),
        ({"bias": "false"}, False),
        ({"unknown": ...}, True),  # parse refuses it
    ],
    ids=str,
)
def test_values_of_a_file_have_the_type_of_their_option(
    value: dict[str, Any], fitting: bool
) -> None:
    if fitting:
        Config.check_types(value, what="rule mine", listing="")
        return
    with pytest.raises(UsageError, match=f"Option {next(iter(value))} of rule mine must be"):
        Config.check_types(value, what="rule mine", listing="")


@pytest.mark.parametrize("value", [math.nan, math.inf, "nan", "inf"])
def test_a_value_that_is_not_finite_is_refused(value: Any) -> None:
    assert "scale" in refusal(scale=value).message


@pytest.mark.parametrize("value", [0.7000000000000001, 0.7, "0.7", 0.6999999999999999])
def test_a_value_near_the_grid_is_rounded_to_it(value: Any) -> None:
    assert parse(leadership=value).leadership == 0.7
    assert parse(leadership=value).changed() == {}


def test_a_value_off_the_grid_does_not_change() -> None:
    assert parse(leadership=0.25).leadership == 0.25


@pytest.mark.parametrize("value", ["300,200", "300, 200,", (300, 200), [300, 200]])
def test_tuples_are_read_from_text(value: Any) -> None:
    assert parse(widths=value).widths == (300, 200)


def test_the_text_none_is_none_where_that_is_allowed() -> None:
    assert parse(widths="none").widths is None
    assert "milestones" in refusal(milestones="none").message


def test_changed_has_the_options_that_differ_from_the_defaults() -> None:
    assert parse().changed() == {}
    changed = parse(leadership="0.5", widths="30", milestones="0.5,0.75", bias="false").changed()
    assert changed == {"leadership": 0.5, "widths": [30], "bias": False}


def test_options_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse().workers = 3  # type: ignore[misc]


def test_the_table_has_one_row_per_option() -> None:
    rows = {row["name"]: row for row in Config.table()}
    assert list(rows) == list(Config.model_fields)
    assert rows["leadership"] == {
        "name": "leadership",
        "default": 0.7,
        "values": "a number from 0.1 to 1",
        "help": "Share that leads",
    }
    assert rows["milestones"]["default"] == [0.5, 0.75]
