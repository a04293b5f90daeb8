"""Effects of a rule's options on a network: numbers per block, and options that cannot act."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import pydantic

from lbench.config import RuleConfig, limits
from lbench.network import Network
from lbench.per_block import per_block_text
from lbench.rule import Rule
from lbench.task import Task


@dataclass(frozen=True, slots=True)
class OptionEffects:
    """The effects of the options of a rule on one network.

    Args:
        rule: the class of the rule.
        network: the network, as it is built or as the rule has changed it.
        task: the classification problem.
    """

    rule: type[Rule]
    network: Network
    task: Task

    def per_block(self, config: RuleConfig) -> dict[str, list[float]]:
        """Return the rule's numbers per block by name, as plain numbers."""
        numbers = self.rule.per_block(config, self.network, self.task)
        return {str(name): [_plain(number) for number in row] for name, row in numbers.items()}

    def same(self, configs: Iterable[RuleConfig]) -> bool:
        """Return whether all these options give the same rule."""
        first, *others = [dict(self._effective(config)) for config in configs]
        return all(other == first for other in others)

    def idle(self, config: RuleConfig, option: str) -> bool:
        """Return whether an option cannot act beside the others, whatever its value is."""
        return declares_effects(self.rule) and self.same(variants(config, option))

    def sentence(self, option: str, config: RuleConfig, values: str = "all of its values") -> str:
        """Return the sentence that an option cannot act, with the reason.

        Args:
            option: name of the option.
            config: options of the rule.
            values: the values that give the same rule, in words.
        """
        numbers = per_block_text(self.per_block(config))
        reason = f" ({numbers})" if numbers else ""
        return f"Option {option} cannot act: {values} give the same rule here{reason}."

    def remedy(self, option: str, config: RuleConfig) -> str:
        """Return what makes an option act; "" if the rule has no advice."""
        return self.rule.remedy(option, config, self.network, self.task)

    def _effective(self, config: RuleConfig) -> Mapping[str, Any]:
        return self.rule.effective(config, self.network, self.task)


def declares_effects(rule: type[Rule]) -> bool:
    """Return whether a rule says which of its options act on a network."""
    return rule.effective.__func__ is not Rule.effective.__func__  # type: ignore[attr-defined]


def declares_numbers(rule: type[Rule]) -> bool:
    """Return whether a rule has numbers per block."""
    return rule.per_block.__func__ is not Rule.per_block.__func__  # type: ignore[attr-defined]


def variants(config: RuleConfig, option: str) -> list[RuleConfig]:
    """Return these options, and copies with other values of one option that are allowed."""
    found = [config]
    for value in other_values(type(config), option):
        if value == getattr(config, option):
            continue
        try:
            found.append(type(config)(**{**config.model_dump(), option: value}))
        except pydantic.ValidationError:
            continue
    return found


def other_values(config: type[RuleConfig], option: str) -> list[Any]:
    """Return values of an option to compare: its choices, or numbers around the default.

    Numbers are twice and half the default, the ends of the search and the limits, in this order.
    """
    field = config.model_fields[option]
    annotation, default = field.annotation, field.default
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if annotation is bool:
        return [False, True]
    kind = annotation if annotation in (int, float) else kinds[0] if kinds else None
    if kind not in (int, float):
        return []
    number = default if isinstance(default, (int, float)) else 1
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    ends: Any = extra.get("search") or ()
    numbers = [number, 2 * number, number / 2, *ends, *limits(config, option)]
    values = [kind(number) for number in numbers if number is not None]
    return list(dict.fromkeys([*values, *([None] if type(None) in get_args(annotation) else [])]))


def _plain(number: Any) -> float:
    value = float(number)
    return int(value) if value.is_integer() else value
