"""Options: one declaration has the flag, the check, the search range and the documentation."""

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
    """Declare an option of a rule, a network, a dataset or a recipe.

    Args:
        default: the default.
        low: smallest allowed value.
        high: largest allowed value.
        step: the grid of a search; values off the grid are allowed.
        log: whether a search is uniform in the logarithm.
        search: the range of a search; None for all allowed values.
        searched: whether a search varies the option by default; False for one that changes memory
            or time but no result.
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
        """Convert ``300,300`` to a tuple, ``none`` to None if allowed, and a number to a tuple.

        The command line passes text, an axis of a study passes numbers.
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
            # Python treats true as 1, but a rate of true is a mistake.
            raise ValueError("true and false are no numbers")
        elif isinstance(value, (int, float)) and _is_tuple(annotation):
            return (value,)
        return value

    @pydantic.field_validator("*", mode="after")
    @classmethod
    def _snap(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """Round values that are nearly on the grid: a search gives 0.7000000000000001 for 0.7."""
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
        """Return options with these settings, and defaults for the others.

        Args:
            settings: values by option.
            what: the owner of the options in messages, such as ``"rule lfnn_l"``.
            listing: the hint with the command that shows the options.

        Raises:
            UsageError: an option is unknown (the hint has the nearest names), or a value does not
                fit (the message has the range).
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

        This is stricter than :meth:`parse`, which also reads the text of the command line, where
        ``"0.1"`` is a number.

        Args:
            settings: values by option; :meth:`parse` checks the names.
            what: as in :meth:`parse`.
            listing: as in :meth:`parse`.

        Raises:
            UsageError: a value has another type; the message has the allowed values.
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
        """Return the options that differ from those of ``before``, or from the defaults."""
        old = type(self)() if before is None else before
        return {
            name: value
            for name, value in self.model_dump(mode="json").items()
            if getattr(self, name) != getattr(old, name)
        }

    @classmethod
    def table(cls) -> list[dict[str, Any]]:
        """Return one row per option: name, default, allowed values, help."""
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


class DatasetConfig(Options):
    """The options of a dataset; subclass it and declare fields with :func:`param`."""

    permute: int | None = param(
        None, low=0, help="Seed of one permutation of the pixels of all images"
    )


def has_type(annotation: Any, value: Any) -> bool:
    """Return whether a value of a TOML file has a declared type.

    A whole number is also a number, a single number is also a tuple, and ``"none"`` stands for
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
    """Return the smallest and the largest allowed value of an option; None for no limit."""
    bounds = {type(bound).__name__: bound for bound in cls.model_fields[name].metadata}
    return getattr(bounds.get("Ge"), "ge", None), getattr(bounds.get("Le"), "le", None)


def describe(cls: type[Options], name: str) -> str:
    """Return the allowed values of an option: ``a number from 0.1 to 1``, ``batch or epoch``."""
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
