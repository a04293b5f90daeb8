"""Reads a study from its TOML file; whatever is wrong is told with its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from lbench.errors import UsageError, nearest
from lbench.study.definition import OBJECTIVES, Arm, Domain, Search, Span, Study

LISTING = "docs/studies.md describes every field; see an example with: lbench studies screen"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Span(_Part):
    low: float
    high: float
    step: float | None = Field(None, gt=0)
    log: bool = False


_Values = list[Any]


class _Search(_Part):
    trials: int = Field(50, ge=1)
    sampler: Literal["tpe", "gp", "random", "qmc", "cmaes", "grid"] = "tpe"
    pruning: bool = True
    objectives: list[str] = ["val_error"]
    seeds: int = Field(1, ge=1)
    epochs: int | None = Field(None, ge=1)
    only: list[str] | None = None
    space: dict[str, _Span | _Values] = {}


class _Arm(_Part):
    rule: str
    name: str = ""
    network: str | None = None
    set: dict[str, Any] = {}
    axes: dict[str, _Values] = {}


class _File(_Part):
    title: str
    question: str
    kind: Literal["grid", "search"] = "grid"
    published: str = ""
    datasets: list[str] = Field(min_length=1)
    networks: list[str] = []
    rules: list[str] = []
    arms: list[_Arm] = []
    set: dict[str, Any] = {}
    axes: dict[str, _Values] = {}
    protocol: Literal["strict", "paper"] = "paper"
    seeds: int = Field(3, ge=1)
    search: _Search | None = None
    probes: list[str] = []
    analysis: str = "best"
    figures: list[str] = []
    margin: float | None = Field(None, gt=0)


def read_study(path: Path, name: str | None = None) -> Study:
    """The study that a file describes.

    Args:
        name: of the study; None for the file's own.

    Raises:
        UsageError: the file cannot be read, is no TOML, or has an unknown field or a value that
            does not fit; says the line and the nearest name.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"The study {path} cannot be read: {reason}.", LISTING) from None
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is no TOML: {error}.", LISTING) from None
    try:
        file = _File.model_validate(content)
    except pydantic.ValidationError as error:
        raise _problem(path, text, error.errors()[0]) from None
    _check(path, text, file)
    return _study(file, name or path.stem, path)


def _study(file: _File, name: str, path: Path) -> Study:
    arms = file.arms or [_Arm(rule=rule) for rule in file.rules]
    return Study(
        name=name,
        title=file.title,
        question=" ".join(file.question.split()),
        kind=file.kind,
        arms=tuple(
            Arm(
                arm.rule,
                arm.name,
                {**file.set, **arm.set},
                {k: tuple(v) for k, v in {**file.axes, **arm.axes}.items()},
                arm.network,
            )
            for arm in arms
        ),
        datasets=tuple(file.datasets),
        networks=tuple(file.networks),
        protocol=file.protocol,
        seeds=file.seeds,
        search=None if file.search is None else _search(file.search),
        probes=tuple(file.probes),
        analysis=file.analysis,
        figures=tuple(file.figures),
        margin=file.margin,
        published=" ".join(file.published.split()),
        path=path,
    )


def _search(part: _Search) -> Search:
    return Search(
        trials=part.trials,
        sampler=part.sampler,
        pruning=part.pruning,
        objectives=tuple(part.objectives),
        seeds=part.seeds,
        epochs=part.epochs,
        only=None if part.only is None else tuple(part.only),
        space={name: _domain(domain) for name, domain in part.space.items()},
    )


def _domain(domain: _Span | _Values) -> Domain:
    if isinstance(domain, _Span):
        return Span(domain.low, domain.high, domain.step, domain.log)
    return tuple(domain)


def _check(path: Path, text: str, file: _File) -> None:
    """What no single field can tell.

    Raises:
        UsageError: as :func:`read_study`.
    """

    def wrong(table: str, key: str, problem: str, hint: str = LISTING) -> UsageError:
        return UsageError(f"{path}{_at(text, table, key)}: {problem}", hint)

    if bool(file.rules) == bool(file.arms):
        raise wrong("", "rules", "Give rules, or [[arms]] with a rule each; one of the two.")
    if (file.kind == "search") != (file.search is not None):
        problem = 'A study of kind "search" has a table [search], and one of kind "grid" has none.'
        if file.kind == "search":
            raise wrong("", "kind", problem)
    for objective in file.search.objectives if file.search else []:
        if objective not in OBJECTIVES:
            raise wrong("search", "objectives", *unknown_objective(objective))
    for table, axes in [("axes", file.axes), *(("arms", arm.axes) for arm in file.arms)]:
        for key, values in axes.items():
            if not values:
                raise wrong(table, key, f"Axis {key} has no value.")
            if len({str(value) for value in values}) < len(values):
                raise wrong(table, key, f"Axis {key} has a value twice.")
    for key, domain in (file.search.space if file.search else {}).items():
        if isinstance(domain, _Span) and not domain.low < domain.high:
            raise wrong(
                "search.space", key, f"{key} goes from {domain.low:g} to {domain.high:g}: low must "
                "be less than high."
            )  # fmt: skip
        if isinstance(domain, _Span) and domain.log and domain.low <= 0:
            raise wrong("search.space", key, f"{key} is logarithmic, so low must be positive.")
        if isinstance(domain, list) and not domain:
            raise wrong("search.space", key, f"{key} has no value.")


def unknown_objective(name: str) -> tuple[str, str]:
    """Message and hint for an objective that nobody measures."""
    near = nearest(name, OBJECTIVES)
    suggestion = f"Did you mean {' or '.join(near)}? " if near else ""
    return f"Unknown objective {name!r}.", f"{suggestion}Objectives: {', '.join(OBJECTIVES)}."


def _problem(path: Path, text: str, error: Any) -> UsageError:
    """The first thing that pydantic found, in a user's words."""
    location: Sequence[Any] = [part for part in error["loc"] if not _internal(part)]
    *table, key = [str(part) for part in location if not isinstance(part, int)] or [""]
    where = f"{path}{_at(text, '.'.join(table), key)}"
    inside = f" of [{'.'.join(table)}]" if table else ""
    if error["type"] == "extra_forbidden":
        names = _fields(table)
        near = nearest(key, names)
        suggestion = f"Did you mean {' or '.join(near)}? " if near else ""
        return UsageError(f"{where}: Unknown field {key!r}{inside}.", suggestion + LISTING)
    if error["type"] == "missing":
        return UsageError(f"{where}: Field {key!r}{inside} is missing.", LISTING)
    given = error["input"]
    wanted = error["msg"][0].lower() + error["msg"][1:]
    return UsageError(f"{where}: Field {key!r}{inside}: {wanted}, but got {given!r}.", LISTING)


def _internal(part: Any) -> bool:
    # Which member of a union was tried.
    return isinstance(part, str) and (part == "_Span" or part.startswith("list["))


def _fields(table: Sequence[str]) -> list[str]:
    models: Mapping[str, type[BaseModel]] = {"search": _Search, "arms": _Arm}
    if not table:
        return list(_File.model_fields)
    if table[-1] in models:
        return list(models[table[-1]].model_fields)
    return list(_Span.model_fields)


def _at(text: str, table: str, key: str) -> str:
    """``, line 12``; "" where the key stands nowhere, as a missing one does."""
    here = ""
    pattern = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*=""")
    dotted = re.compile(rf"""\s*{re.escape(table)}\.["']?{re.escape(key)}["']?\s*=""")
    inline = re.compile(rf"""\s*["']?{re.escape(table.rpartition(".")[2])}["']?\s*=.*\b{key}\b""")
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]\]?", line):
            here = header[1]
            if here == key and not table:
                return f", line {number}"
            continue
        if (here == table and pattern.match(line)) or (
            table and (dotted.match(line) or inline.match(line))
        ):
            return f", line {number}"
    return ""
