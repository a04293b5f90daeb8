"""Reads a study from its TOML file; whatever is wrong is told with its line."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from lbench.errors import UsageError, did_you_mean, nearest
from lbench.study.definition import OBJECTIVES, Arm, Domain, Search, Span, Study, digest
from lbench.study.lines import Location, line_of

LISTED = f"Objectives: {', '.join(OBJECTIVES)}."
SETTINGS = "Settings of runs, such as epochs or an option of the rule, belong in 'set'. "
LISTING = "docs/studies.md describes every field; see an example with: lbench studies screen"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Span(_Part):
    low: float
    high: float
    step: float | None = Field(None, gt=0)
    log: bool = False


_Values = list[Any]
_Found = tuple[Location, int, Any]
Wrong = Callable[..., UsageError]
"""From a location, a problem and perhaps a hint to the error that says them with the line."""
DEEPEST = 20
"""Levels of lists and tables in a file; a study needs six."""


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
    kind: Literal["grid", "search"] | None = None
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
    text, content = _toml(path)
    try:
        file = _File.model_validate(content)
    except pydantic.ValidationError as error:
        raise _problem(path, text, error.errors()) from None
    _check(path, text, file)
    return _study(file, name or path.stem, path)


def _toml(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the text of a TOML file, and what it says.

    Raises:
        UsageError: it cannot be read, is no TOML, or has a number that TOML has no room for.
    """
    try:
        # Some editors put a byte order mark in front, which is no part of the text.
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"The study {path} cannot be read: {reason}.", LISTING) from None
    except UnicodeDecodeError as error:
        reason = f"byte {error.start + 1} is not UTF-8"
        raise UsageError(
            f"The study {path} cannot be read: {reason}.", "Save it as UTF-8."
        ) from None
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is no TOML: {error}.", LISTING) from None
    except RecursionError:
        raise UsageError(f"{path} nests lists or tables too deeply to be read.", LISTING) from None
    except ValueError as error:
        # Python reads no number of more than 4300 digits.
        raise UsageError(f"{path} is no TOML: {error}.", LISTING) from None
    for location, depth, value in _values(content):
        if depth > DEEPEST:
            problem = "lists or tables are nested too deeply"
            raise UsageError(f"{_where(path, text, location)}: {problem}.", LISTING)
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            problem = "a whole number of TOML has at most 64 bits"
            raise UsageError(f"{_where(path, text, location)}: {problem}.", LISTING)
    return text, content


def _values(content: Any, location: Location = (), depth: int = 0) -> Iterator[_Found]:
    """Walk through all values of a TOML file, down to the depth that is refused."""
    yield location, depth, content
    if depth > DEEPEST:
        return
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _values(value, (*location, key), depth + 1)
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from _values(value, (*location, index), depth + 1)


def _study(file: _File, name: str, path: Path) -> Study:
    arms = file.arms or [_Arm(rule=rule) for rule in file.rules]
    return Study(
        name=name,
        title=file.title,
        question=" ".join(file.question.split()),
        kind="grid" if file.search is None else "search",
        arms=tuple(_arm(file, arm) for arm in arms),
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
        version=_version(file),
    )


def _version(file: _File) -> str:
    """The same for all files of which points and searches are the same, as far as both go."""
    words = ("title", "question", "published", "analysis", "figures", "margin")
    left_out: Any = dict.fromkeys((*words, "seeds", "datasets"), True) | {"search": {"trials"}}
    return digest(file.model_dump(exclude=left_out))


def _arm(file: _File, arm: _Arm) -> Arm:
    """An arm with what is set for all; what it says itself of a setting is what holds."""
    axes = {k: v for k, v in file.axes.items() if k not in arm.set} | arm.axes
    settings = {k: v for k, v in file.set.items() if k not in arm.axes} | arm.set
    return Arm(arm.rule, arm.name, settings, {k: tuple(v) for k, v in axes.items()}, arm.network)


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

    def wrong(location: Location, problem: str, hint: str = LISTING) -> UsageError:
        return UsageError(f"{_where(path, text, location)}: {problem}", hint)

    _check_fields(file, wrong)
    _check_axes((), file, wrong)
    for index, arm in enumerate(file.arms):
        _check_axes(("arms", index), arm, wrong)
    if file.search is not None:
        _check_search(file.search, wrong)


def _check_fields(file: _File, wrong: Wrong) -> None:
    """That the fields at the top fit each other."""
    if bool(file.rules) == bool(file.arms):
        problem = "Give rules, or [[arms]] with a rule each; one of the two."
        raise wrong(("rules",), problem)
    if file.kind == "search" and file.search is None:
        raise wrong(("kind",), 'A study of kind "search" has a table [search].')
    if file.kind == "grid" and file.search is not None:
        raise wrong(("search",), 'A study of kind "grid" has no table [search].')
    for name in ("datasets", "networks", "rules", "probes", "figures"):
        if (twice := _twice(getattr(file, name))) is not None:
            raise wrong((name,), f"Field {name!r} has {twice!r} twice.")
    if file.networks and file.arms and all(arm.network for arm in file.arms):
        raise wrong(("networks",), "networks cannot act: every arm has a network of its own.")


def _check_axes(location: Location, part: _File | _Arm, wrong: Wrong) -> None:
    """That each axis has values, each once, and is not set beside."""
    for key, values in part.axes.items():
        here = (*location, "axes", key)
        if not values:
            raise wrong(here, f"Axis {key} has no value.")
        if (twice := _twice(values)) is not None:
            raise wrong(here, f"Axis {key} has the value {twice!r} twice.")
        if key in part.set:
            raise wrong(here, f"{key} is set, and an axis too.")


def _check_search(search: _Search, wrong: Wrong) -> None:
    here: Location = ("search", "objectives")
    for objective in search.objectives:
        if objective not in OBJECTIVES:
            raise wrong(here, *unknown_objective(objective))
    if problem := wrong_objectives(search.objectives):
        raise wrong(here, problem)
    given = search.model_fields_set
    if "trials" in given and search.sampler == "grid":
        problem = "trials cannot act: the sampler grid tries every combination once."
        raise wrong(("search", "trials"), problem)
    if "pruning" in given and search.pruning and len(search.objectives) > 1:
        problem = "pruning cannot act: with several objectives no trial is worse than another."
        raise wrong(("search", "pruning"), problem)
    for key, domain in search.space.items():
        if problem := _of_span(domain) if isinstance(domain, _Span) else _of_values(domain):
            raise wrong(("search", "space", key), f"{key} {problem}")


def _of_values(values: Sequence[Any]) -> str | None:
    """What is wrong with the values that a search may take; None for nothing."""
    if not values:
        return "has no value."
    if (twice := _twice(values)) is not None:
        return f"has the value {twice!r} twice."
    return None


def _of_span(span: _Span) -> str | None:
    """What is wrong with a range that is searched; None for nothing."""
    if not span.low < span.high:
        return f"goes from {span.low:g} to {span.high:g}: low must be less than high."
    if span.log and span.low <= 0:
        return "is logarithmic, so low must be positive."
    if span.log and span.step is not None:
        return "is logarithmic, so it has no step."
    if span.step is not None and span.step > span.high - span.low:
        return "has a step that is wider than its range."
    return None


def wrong_objectives(names: Sequence[str]) -> str | None:
    """What is wrong with known objectives; None for nothing."""
    if not names or names[0] != "val_error":
        return "The first objective must be val_error: it chooses what is trained in the end."
    if (twice := _twice(names)) is not None:
        return f"Objective {twice} is there twice."
    return None


def unknown_objective(name: str) -> tuple[str, str]:
    """Message and hint for an objective that nobody measures."""
    hint = f"{did_you_mean(nearest(name, OBJECTIVES))} {LISTED}".lstrip()
    return f"Unknown objective {name!r}.", hint


def _twice(values: Sequence[Any]) -> Any:
    """Return the first value that equals an earlier one; None of none.

    1 and 1.0 are equal; true is no 1, and is refused where a number is wanted.
    """
    keys = [(isinstance(each, bool), each) for each in values]
    return next((each for at, (_, each) in enumerate(keys) if keys[at] in keys[:at]), None)


def _problem(path: Path, text: str, errors: Sequence[Any]) -> UsageError:
    """The first thing that pydantic found, in a user's words."""
    # Of a field that is missing and an unknown one, the second is what was meant to be the first.
    error = min(errors, key=lambda error: error["type"] != "extra_forbidden")
    location = [part for part in error["loc"] if not _internal(part)]
    where = _where(path, text, location)
    *table, key = [str(part) for part in location if not isinstance(part, int)] or [""]
    inside = f" of [{'.'.join(table)}]" if table else ""
    if error["type"] == "extra_forbidden":
        elsewhere = SETTINGS if table in ([], ["arms"]) else ""
        near = did_you_mean(nearest(key, _fields(table)))
        hint = f"{near} {elsewhere}{LISTING}".lstrip()
        return UsageError(f"{where}: Unknown field {key!r}{inside}.", hint)
    if error["type"] == "missing":
        return UsageError(f"{where}: Field {key!r}{inside} is missing.", LISTING)
    if table == ["search", "space"]:
        wanted = "a range, as in { low = 0.1, high = 1.0 }, or a list of values"
        given = error["input"]
        return UsageError(f"{where}: Field {key!r}{inside} must be {wanted}, but got {given!r}.")
    wanted = error["msg"][0].lower() + error["msg"][1:]
    given = error["input"]
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


def _where(path: Path, text: str, location: Location) -> str:
    """``study.toml, line 12``; the file alone where nothing of it stands there."""
    line = line_of(text, location)
    return str(path) if line is None else f"{path}, line {line}"
