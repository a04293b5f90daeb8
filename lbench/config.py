"""Options, declared once: the flag, the check, the search range and the row in the docs."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, Self

import pydantic
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lbench.errors import UsageError, unknown


def param(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    step: float | None = None,
    log: bool = False,
    search: tuple[float, float] | None = None,
    searched: bool = True,
    help: str = "",
) -> Any:
    """Declare an option of a rule, a network or a recipe.

    Args:
        low: smallest allowed value.
        high: largest allowed value.
        step: the grid of a search; values off the grid are allowed.
        log: a search is uniform in the logarithm.
        search: where a search begins and ends; None for all that is allowed.
        searched: whether a search takes the option unasked; False for one that changes memory or
            time, and no result.
        help: one line for the listings.
    """
    extra: dict[str, Any] = {"step": step, "log": log, "searched": searched}
    if search is not None:
        extra["search"] = list(search)
    return Field(default, ge=low, le=high, description=help, json_schema_extra=extra)


class Options(BaseModel):
    """A frozen set of checked options."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _from_text(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """From text ``300,300`` is a tuple and ``none`` may be None; a number alone is a tuple too.

        The command line hands over text, a study's axis numbers.
        """
        if not info.field_name:
            return value
        annotation = cls.model_fields[info.field_name].annotation
        if isinstance(value, str):
            if value.lower() == "none" and type(None) in typing.get_args(annotation):
                return None
            if _is_tuple(annotation):
                return tuple(part.strip() for part in value.split(",") if part.strip())
        elif _has_truth(value) and not has_type(annotation, value):
            # Python counts true as 1; a rate of true is a mistake.
            raise ValueError("true and false are no numbers")
        elif isinstance(value, (int, float)) and _is_tuple(annotation):
            return (value,)
        return value

    @pydantic.field_validator("*", mode="after")
    @classmethod
    def _snap(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """0.7000000000000001, as a stepped search hands out, is 0.7."""
        if isinstance(value, float) and info.field_name:
            value += 0.0  # -0.0 is 0.0
            extra = cls.model_fields[info.field_name].json_schema_extra
            step = extra.get("step") if isinstance(extra, dict) else None
            if isinstance(step, (int, float)):
                snapped = round(round(value / step) * step, 12)
                return snapped if abs(snapped - value) < 1e-9 else value
        return value

    @classmethod
    def parse(cls, settings: Mapping[str, Any], *, what: str, listing: str) -> Self:
        """These settings over the defaults.

        Args:
            what: whose options they are, for the message, such as ``"rule lfnn_l"``.
            listing: the command that shows them.

        Raises:
            UsageError: an unknown option (says the nearest), or a value that does not fit
                (says the range).
        """
        for name in settings:
            if name not in cls.model_fields:
                if not cls.model_fields:
                    raise UsageError(f"{what.capitalize()} has no options, but got {name!r}.")
                raise unknown(f"option of {what}", name, cls.model_fields, listing=listing)
        try:
            return cls(**settings)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else ""
            if name not in cls.model_fields:
                problem = first["msg"].removeprefix("Value error, ")
                raise UsageError(f"Options of {what}: {problem}.", listing) from None
            raise cls._misfit(name, settings.get(name, first["input"]), what, listing) from None

    @classmethod
    def check_types(cls, settings: Mapping[str, Any], *, what: str, listing: str) -> None:
        """Check that values of a TOML file have the types that the options declare.

        :meth:`parse` also reads text, as the command line has it: ``"0.1"`` is a number there.

        Args:
            settings: values by option; names that are no options are left to :meth:`parse`.
            what: as in :meth:`parse`.
            listing: as in :meth:`parse`.

        Raises:
            UsageError: a value of another type: says what the option may be.
        """
        for name, value in settings.items():
            if name in cls.model_fields:
                annotation = cls.model_fields[name].annotation
                if not has_type(annotation, value):
                    raise cls._misfit(name, value, what, listing)

    @classmethod
    def _misfit(cls, name: str, value: Any, what: str, listing: str) -> UsageError:
        wanted = describe(cls, name)
        return UsageError(f"Option {name} of {what} must be {wanted}, but got {value!r}.", listing)

    def changed(self, before: Self | None = None) -> dict[str, Any]:
        """The options that differ from those of ``before``, or from the defaults."""
        old = type(self)() if before is None else before
        return {
            name: value
            for name, value in self.model_dump(mode="json").items()
            if getattr(self, name) != getattr(old, name)
        }

    @classmethod
    def table(cls) -> list[dict[str, Any]]:
        """One row an option: name, default, what it may be, help."""
        return [
            {
                "name": name,
                "default": pydantic.TypeAdapter(Any).dump_python(field.default, mode="json"),
                "values": describe(cls, name),
                "help": field.description or "",
            }
            for name, field in cls.model_fields.items()
        ]


class RuleConfig(Options):
    """The options of a rule; subclass it and declare fields with :func:`param`."""


def has_type(annotation: Any, value: Any) -> bool:
    """Return whether a value of a TOML file has a declared type.

    A whole number is a number too, a number alone is a tuple of one, and ``"none"`` stands for
    None, which TOML does not have.
    """
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return any(has_type(kind, value) for kind in typing.get_args(annotation))
    if annotation is type(None):
        return value is None or (isinstance(value, str) and value.lower() == "none")
    if typing.get_origin(annotation) is Literal:
        choices = typing.get_args(annotation)
        return any(type(value) is type(choice) and value == choice for choice in choices)
    if _is_tuple(annotation):
        parts = value if isinstance(value, (list, tuple)) else [value]
        return all(has_type(typing.get_args(annotation)[0], part) for part in parts)
    if annotation is float:
        return type(value) in (int, float)
    return type(value) is annotation


def _has_truth(value: Any) -> bool:
    parts = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(part, bool) for part in parts)


def limits(cls: type[Options], name: str) -> tuple[float | None, float | None]:
    """The smallest and the largest value that an option may have; None for no limit."""
    found = {type(limit).__name__: limit for limit in cls.model_fields[name].metadata}
    return getattr(found.get("Ge"), "ge", None), getattr(found.get("Le"), "le", None)


def describe(cls: type[Options], name: str) -> str:
    """What an option may be: ``a number from 0.1 to 1``, ``batch, example or epoch``."""
    field = cls.model_fields[name]
    annotation, optional = field.annotation, False
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        annotation, optional = kinds[0], len(kinds) < len(typing.get_args(annotation))
    if typing.get_origin(annotation) is Literal:
        *head, last = [str(choice) for choice in typing.get_args(annotation)]
        text = f"{', '.join(head)} or {last}" if head else last
    elif _is_tuple(annotation):
        inner = typing.get_args(annotation)[0]
        text = "whole numbers" if inner is int else "numbers"
        text += ", separated by commas"
    else:
        nouns = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
        text = nouns.get(typing.cast(type, annotation), str(annotation))
    low, high = limits(cls, name)
    if low is not None and high is not None:
        text += f" from {low:g} to {high:g}"
    elif low is not None:
        text += f" of at least {low:g}"
    elif high is not None:
        text += f" of at most {high:g}"
    return text + (" or none" if optional else "")


def _is_tuple(annotation: Any) -> bool:
    return any(
        typing.get_origin(kind) is tuple for kind in (annotation, *typing.get_args(annotation))
    )
