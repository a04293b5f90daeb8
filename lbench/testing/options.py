"""Checks of a rule's options."""

from __future__ import annotations

import json
import typing

import pydantic

from lbench.config import RuleConfig
from lbench.errors import LbenchError, UsageError
from lbench.testing.subject import NETS, FailedError, Subject


def builds_from_defaults(subject: Subject) -> str:
    """Check that the rule with default options builds on at least one of the kit's networks."""
    config = subject.cls.Config()
    refusals = []
    for net in NETS:
        try:
            subject.build(net, config=config)
        except UsageError as refusal:
            refusals.append(f"{net.label}: {refusal.message}")
        else:
            return f"on {net.label}"
    raise FailedError(f"the rule refuses every network. {' '.join(refusals)}")


def options_round_trip(subject: Subject) -> str:
    """Check that options survive being written as JSON and read: the defaults, and each choice."""
    variants = _variants(subject)
    for config in variants:
        text = json.dumps(config.model_dump(mode="json"), allow_nan=False)
        again = type(config).parse(json.loads(text), what="the rule", listing="")
        if again != config:
            changed = ", ".join(
                f"{name} from {getattr(config, name)!r} to {getattr(again, name)!r}"
                for name in type(config).model_fields
                if getattr(config, name) != getattr(again, name)
            )
            raise FailedError(f"writing options as JSON and reading them changes {changed}")
    return f"{len(variants)} sets of options" if len(variants) > 1 else "one set of options"


def unknown_options_refused(subject: Subject) -> None:
    """Check that an unknown option is refused, with the nearest name that the rule has."""
    cls = subject.cls.Config
    near = next(iter(cls.model_fields), None)
    wrong = f"{near}_" if near else "nonsense"
    try:
        cls.parse({wrong: 1}, what="the rule", listing="")
    except LbenchError as refusal:
        if near is not None and near not in refusal.hint:
            raise FailedError(
                f"option {wrong!r} is refused, but the hint does not name {near!r}"
            ) from refusal
    else:
        raise FailedError(f"option {wrong!r} is accepted and has no effect")
    try:
        cls(**{**subject.config.model_dump(), wrong: 1})
    except pydantic.ValidationError:
        return
    raise FailedError(f"Config({wrong}=1) is accepted and has no effect")


def _variants(subject: Subject) -> list[RuleConfig]:
    """Return the subject's options, and variants with each choice of each option.

    Choices that the other options forbid are left out.
    """
    config = subject.config
    variants = [config]
    for name, field in type(config).model_fields.items():
        if field.annotation is bool:
            choices: tuple[object, ...] = (True, False)
        elif typing.get_origin(field.annotation) is typing.Literal:
            choices = typing.get_args(field.annotation)
        else:
            limits = [getattr(limit, side, None) for limit in field.metadata for side in _SIDES]
            choices = tuple(limit for limit in limits if limit is not None)
        for choice in choices:
            try:
                variants.append(type(config)(**{**config.model_dump(), name: choice}))
            except pydantic.ValidationError:
                continue
    return variants


_SIDES = ("ge", "le")
