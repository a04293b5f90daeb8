"""A search space has the declared ranges, narrowed by the study, within the limits of options."""

from __future__ import annotations

from typing import Any, Literal, cast

import pytest

from lbench.config import RuleConfig, param
from lbench.errors import DataError, UsageError
from lbench.registry import Registry, registry
from lbench.studies.definition import Arm, Domain, Point, Search, Span, Study
from lbench.studies.plan import plan
from lbench.studies.settings import as_flags, request
from lbench.studies.space import (
    ALWAYS,
    check_space,
    distribution,
    is_integer,
    search_space,
    trial_count,
)


def space_of(rule: str, settings: dict[str, Any] | None = None, **search: Any) -> dict[str, Domain]:
    return search_space(rule, Search(**search), settings or {}, registry())


def study(*arms: Arm, **changes: Any) -> Study:
    values: dict[str, Any] = {"datasets": ("digits",), "seeds": 1, **changes}
    return Study("s", "Title", "Which?", "grid", arms, **values)


def test_the_ranges_of_a_rule_come_before_rate_decay_and_optimizer() -> None:
    domains = space_of("lfnn_l")
    assert domains["leadership"] == Span(0.1, 1.0, 0.1)
    assert domains["selection"] == ("batch", "example", "epoch", "first_epoch", "random")
    assert list(domains)[-3:] == ["lr", "weight_decay", "optimizer"]


def test_rate_decay_and_optimizer_are_searched_unless_they_are_set() -> None:
    assert set(space_of("bp", only=())) == {"lr", "weight_decay", "optimizer"}
    assert set(space_of("bp", {"optimizer": "adam"}, only=())) == {"lr", "weight_decay"}


def test_options_that_do_not_change_results_are_searched_only_if_they_are_named() -> None:
    assert set(space_of("bp")) == {"lr", "weight_decay", "optimizer"}
    assert space_of("bp", only=("checkpoint",))["checkpoint"] == (False, True)
    narrow: dict[str, Domain] = {"checkpoint": (True,), "accumulate": (1, 2)}
    assert {name: space_of("bp", space=narrow)[name] for name in narrow} == narrow


def test_a_study_can_narrow_ranges_and_choose_options() -> None:
    narrow: dict[str, Domain] = {"lam": Span(0.01, 10, log=True)}
    domains = space_of("lfnn_l", only=("lam",), space=narrow)
    assert domains["lam"] == narrow["lam"]
    assert "leadership" not in domains


@pytest.mark.parametrize(
    "narrow",
    [{"leadership": Span(0.05, 1.5)}, {"optimizer": ("adam", "lion")}, {"lr": Span(1e-9, 0.1)}],
)
def test_a_space_outside_an_options_range_is_refused(narrow: dict[str, Domain]) -> None:
    with pytest.raises(UsageError, match="leaves its range"):
        space_of("lfnn_l", space=narrow)


class Config(RuleConfig):
    """Options of every kind."""

    share: float = param(0.5, low=0.0, high=1.0, step=0.25)
    scale: float = param(1.0, low=0.0, high=4.0, log=True)
    count: int = param(1, low=1, high=9, step=2)
    kind: Literal["one", "two"] = param("one")
    flag: bool = param(False)
    free: float = param(1.0)
    width: int | None = param(None, low=1, high=4)


class OneRule:
    """A registry of one rule with these options."""

    def load(self, kind: str, name: str) -> Any:
        class Rule:
            Config = Config

        return Rule


ONE_RULE = cast(Registry, OneRule())


def test_the_space_has_the_declared_ranges() -> None:
    domains = search_space("mine", Search(), {}, ONE_RULE)
    assert domains == {
        "share": Span(0.0, 1.0, 0.25),
        # The range begins at 0, so it is not logarithmic although the option declares it.
        "scale": Span(0.0, 4.0),
        "count": Span(1, 9, 2.0),
        "kind": ("one", "two"),
        "flag": (False, True),
        **ALWAYS,
    }


def test_whole_numbers_are_suggested_for_integer_options() -> None:
    import optuna

    assert is_integer("mine", "count", ONE_RULE)
    assert not is_integer("mine", "share", ONE_RULE)
    optuna_domain = distribution(Span(1, 9, 2.0), integer=True)
    assert optuna_domain == optuna.distributions.IntDistribution(1, 9, step=2)


def test_a_range_ends_at_the_last_step_inside_it(recwarn: pytest.WarningsRecorder) -> None:
    import optuna

    optuna_domain = distribution(Span(0.1, 1.0, 0.25), integer=False)
    assert isinstance(optuna_domain, optuna.distributions.FloatDistribution)
    assert optuna_domain.high == pytest.approx(0.85)
    assert not recwarn


def test_lists_are_suggested_in_the_syntax_of_the_command_line() -> None:
    optuna_domain = distribution(((0.5, 0.75), (0.9,)), integer=False)
    assert getattr(optuna_domain, "choices", None) == ("0.5,0.75", "0.9")


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"only": ("free",)}, "Option free of rule mine is a number: it declares no range"),
        ({"space": {"kind": Span(0, 1)}}, "it has no range to search"),
        ({"space": {"count": Span(1, 9, 0.5)}}, "takes whole numbers, but its step is 0.5"),
        ({"space": {"count": Span(1.5, 9)}}, "leaves its range"),
        ({"sampler": "grid"}, "The sampler grid needs values of share, but it has the range"),
    ],
)
def test_an_option_that_cannot_be_searched_is_an_error(
    search: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        search_space("mine", Search(**search), {}, ONE_RULE)


def test_an_empty_search_space_is_refused() -> None:
    everything = {"lr": 0.1, "weight_decay": 0.0, "optimizer": "sgd"}
    with pytest.raises(UsageError, match="Nothing is left to search for rule bp"):
        space_of("bp", everything, only=())
    assert space_of("bp", everything, only=(), sampler="grid") == {}


def test_a_study_can_give_a_range_to_an_option_that_declares_none() -> None:
    narrow: dict[str, Domain] = {"free": Span(0.0, 2.0)}
    assert (
        search_space("mine", Search(only=("free",), space=narrow), {}, ONE_RULE)["free"]
        == narrow["free"]
    )


@pytest.mark.parametrize("name", ["net.depth", "data.permute", "epochs", "labels"])
def test_only_options_of_rules_and_the_recipe_can_be_searched(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} cannot be searched") as raised:
        check_space(Search(space={name: (1, 2)}), ("bp",), registry())
    assert "[axes]" in raised.value.hint


def test_the_error_for_an_unknown_name_in_a_search_has_the_most_similar_one() -> None:
    with pytest.raises(UsageError, match="leadershp") as raised:
        check_space(Search(only=("leadershp",)), ("lfnn_l", "bp"), registry())
    assert "Did you mean leadership" in raised.value.hint


def test_a_part_of_the_recipe_is_refused_in_the_list_of_searched_options() -> None:
    with pytest.raises(UsageError, match="dropout is a part of the recipe") as raised:
        check_space(Search(only=("dropout",)), ("lfnn_l", "bp"), registry())
    assert "[search.space]" in raised.value.hint
    check_space(Search(only=("leadership", "lr")), ("lfnn_l", "bp"), registry())


def test_a_grid_has_one_trial_per_combination() -> None:
    values: dict[str, Domain] = {"lr": (0.1, 0.2, 0.3), "optimizer": ("adam", "sgd")}
    assert trial_count(Search(trials=50, sampler="grid"), values) == 6
    assert trial_count(Search(trials=50), values) == 50


def test_settings_become_a_request_and_command_line_options() -> None:
    point = Point(0, "lfnn_l", "digits", "mlp", {}, {"leadership": 0.3, "net.widths": [20, 20]})
    wanted = request(point, registry(), "strict", {"lr": 0.01, "epochs": 2})
    assert wanted.config == {"leadership": 0.3}
    assert wanted.network_options == {"widths": [20, 20]}
    assert (wanted.recipe, wanted.epochs) == ({"lr": 0.01}, 2)
    flags = as_flags(point, {"lr": 0.01}, registry())
    assert "--set leadership=0.3" in flags
    assert "--net widths=20,20" in flags
    assert "--lr 0.01" in flags


def test_each_combination_of_the_axes_that_a_rule_has_is_a_point() -> None:
    axes = {"leadership": (0.3, 0.7), "lr": (0.001, 0.01)}
    points = plan(study(Arm("lfnn_l", axes=axes), Arm("bp", axes=axes)), registry()).points
    assert len([p for p in points if p.rule == "lfnn_l"]) == 4
    assert len([p for p in points if p.rule == "bp"]) == 2
    assert len({p.key for p in points}) == 6


def test_a_star_stands_for_every_installed_rule() -> None:
    everything = plan(study(Arm("*")), registry()).points
    assert {point.rule for point in everything} == set(registry().rules)


def test_a_missing_dataset_is_an_error_if_it_was_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.delenv("LBENCH_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_: str(tmp_path))
    with pytest.raises(DataError):
        plan(study(Arm("bp")), registry(), datasets=["imagefolder"])
    both = plan(study(Arm("bp"), datasets=("digits", "imagefolder")), registry())
    assert [point.dataset for point in both.points] == ["digits"]
    assert list(both.absent) == ["imagefolder"]


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (Arm("lfn_l"), "Unknown rule 'lfn_l'"),
        (Arm("bp", settings={"leadersip": 0.3}), "Unknown setting of rule bp 'leadersip'"),
        (Arm("lfnn_l", settings={"leadership": 3.0}), "must be a number from 0 to 1"),
        (Arm("bp", network="mpl"), "Unknown network 'mpl'"),
    ],
)
def test_invalid_arms_are_errors_before_anything_runs(arm: Arm, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan(study(arm), registry())
