"""Reader of a study's TOML file; error messages name the line of the wrong field."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from lbench.errors import UsageError, did_you_mean, nearest
from lbench.studies.definition import OBJECTIVES, Arm, Domain, Search, Span, Study, digest
from lbench.studies.lines import Location, line_of

OBJECTIVE_LIST = f"Objectives: {', '.join(OBJECTIVES)}."
SETTINGS = "Settings of runs, such as epochs or an option of the rule, belong in 'set'. "
HELP = "docs/studies.md describes every field; see an example with: lbench studies screen"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Span(_Table):
    low: float
    high: float
    step: float | None = Field(None, gt=0)
    log: bool = False


_Values = list[Any]
_LocatedValue = tuple[Location, int, Any]
"""Location, depth and value of an entry in a TOML file."""
MakeError = Callable[..., UsageError]
"""Function of a location, a problem and an optional hint; the error's message has the line."""
MAX_DEPTH = 20
"""Most levels of nested lists and tables in a file; a study needs six."""


class _Search(_Table):
    trials: int = Field(50, ge=1)
    sampler: Literal["tpe", "gp", "random", "qmc", "cmaes", "grid"] = "tpe"
    pruning: bool = True
    objectives: list[str] = ["val_error"]
    seeds: int = Field(1, ge=1)
    epochs: int | None = Field(None, ge=1)
    only: list[str] | None = None
    space: dict[str, _Span | _Values] = {}


class _Arm(_Table):
    rule: str
    name: str = ""
    network: str | None = None
    set: dict[str, Any] = {}
    axes: dict[str, _Values] = {}


class _File(_Table):
    title: str
    question: str
    kind: Literal["grid", "search"] | None = None
    published: str = ""
    datasets: list[str] = Field(min_length=1)
    networks: list[str] = []
    networks_by_dataset: dict[str, list[str]] = {}
    rules: list[str] = []
    arms: list[_Arm] = []
    set: dict[str, Any] = {}
    axes: dict[str, _Values] = {}
    fallback: dict[str, Any] = {}
    protocol: Literal["strict", "paper"] = "paper"
    seeds: int = Field(3, ge=1)
    search: _Search | None = None
    probes: list[str] = []
    analysis: str = "best"
    figures: list[str] = []
    margin: float | None = Field(None, gt=0)


def read_study(path: Path, name: str | None = None) -> Study:
    """Return the study that a file describes.

    Args:
        path: the TOML file.
        name: name of the study; None for the name of the file.

    Raises:
        UsageError: the file cannot be read, is not TOML, or has an unknown field or an invalid
            value. The message has the line and the most similar name.
    """
    text, content = _toml(path)
    try:
        file = _File.model_validate(content)
    except pydantic.ValidationError as error:
        raise _problem(path, text, error.errors()) from None
    _check(path, text, file)
    return _study(file, name or path.stem, path)


def _toml(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the text of a TOML file and its parsed content.

    Raises:
        UsageError: it cannot be read, is not TOML, or has an integer of more than 64 bits.
    """
    try:
        # utf-8-sig: some editors put a byte order mark in front of the text.
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"The study {path} cannot be read: {reason}.", HELP) from None
    except UnicodeDecodeError as error:
        reason = f"byte {error.start + 1} is not UTF-8"
        raise UsageError(
            f"The study {path} cannot be read: {reason}.", "Save it as UTF-8."
        ) from None
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}.", HELP) from None
    except RecursionError:
        raise UsageError(f"{path} nests lists or tables too deeply to be read.", HELP) from None
    except ValueError as error:
        # Python does not parse an integer of more than 4300 digits.
        raise UsageError(f"{path} is not TOML: {error}.", HELP) from None
    for location, depth, value in _values(content):
        if depth > MAX_DEPTH:
            problem = "lists or tables are nested too deeply"
            raise UsageError(f"{_where(path, text, location)}: {problem}.", HELP)
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            problem = "a whole number in TOML has at most 64 bits"
            raise UsageError(f"{_where(path, text, location)}: {problem}.", HELP)
    return text, content


def _values(content: Any, location: Location = (), depth: int = 0) -> Iterator[_LocatedValue]:
    """Yield all values of a TOML file, down to the first depth that is refused."""
    yield location, depth, content
    if depth > MAX_DEPTH:
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
        networks_by_dataset={n: tuple(names) for n, names in file.networks_by_dataset.items()},
        fallback=file.fallback,
        path=path,
        version=_version(file),
    )


def _version(file: _File) -> str:
    """Return the digest of everything in a file that changes the points or the searches."""
    texts = ("title", "question", "published", "analysis", "figures", "margin")
    # The networks of a dataset are part of the names of its points.
    others = ("seeds", "datasets", "networks_by_dataset")
    excluded: Any = dict.fromkeys((*texts, *others), True) | {"search": {"trials"}}
    content = file.model_dump(exclude=excluded)
    if not file.fallback:
        # Left out, so that older versions of files stay valid.
        del content["fallback"]
    return digest(content)


def _arm(file: _File, arm: _Arm) -> Arm:
    """Return an arm with the settings of all arms; its own settings take precedence."""
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
    """Check conditions that involve more than one field.

    Raises:
        UsageError: as in :func:`read_study`.
    """

    def make_error(location: Location, problem: str, hint: str = HELP) -> UsageError:
        return UsageError(f"{_where(path, text, location)}: {problem}", hint)

    _check_fields(file, make_error)
    _check_networks(file, make_error)
    _check_axes((), file, make_error)
    for index, arm in enumerate(file.arms):
        _check_axes(("arms", index), arm, make_error)
    if file.search is not None:
        _check_search(file.search, make_error)


def _check_fields(file: _File, make_error: MakeError) -> None:
    """Check that the fields at the top level fit each other."""
    if bool(file.rules) == bool(file.arms):
        problem = "Give either rules, or [[arms]] with one rule each."
        raise make_error(("rules",), problem)
    if file.kind == "search" and file.search is None:
        raise make_error(("kind",), 'A study of kind "search" has a table [search].')
    if file.kind == "grid" and file.search is not None:
        raise make_error(("search",), 'A study of kind "grid" has no table [search].')
    for name in ("datasets", "networks", "rules", "probes", "figures"):
        if (twice := _twice(getattr(file, name))) is not None:
            raise make_error((name,), f"Field {name!r} has {twice!r} twice.")
    for name in file.fallback:
        if name in file.set or name in file.axes:
            kind = "a setting" if name in file.set else "an axis"
            raise make_error(("fallback", name), f"{name} is both {kind} and in [fallback].")


def _check_networks(file: _File, make_error: MakeError) -> None:
    """Check that networks are named once, and that an arm uses them."""
    for dataset, networks in file.networks_by_dataset.items():
        location = ("networks_by_dataset", dataset)
        if not networks:
            raise make_error(location, f"networks_by_dataset has no network for {dataset}.")
        if (twice := _twice(networks)) is not None:
            raise make_error(location, f"networks_by_dataset.{dataset} has {twice!r} twice.")
    for name in ("networks", "networks_by_dataset"):
        if getattr(file, name) and file.arms and all(arm.network for arm in file.arms):
            raise make_error((name,), f"{name} has no effect: every arm has a network of its own.")


def _check_axes(location: Location, part: _File | _Arm, make_error: MakeError) -> None:
    """Check that each axis has distinct values and that its name is not in ``set`` too."""
    for key, values in part.axes.items():
        axis = (*location, "axes", key)
        if not values:
            raise make_error(axis, f"Axis {key} has no value.")
        if (twice := _twice(values)) is not None:
            raise make_error(axis, f"Axis {key} has the value {twice!r} twice.")
        if key in part.set:
            raise make_error(axis, f"{key} is both a setting and an axis.")


def _check_search(search: _Search, make_error: MakeError) -> None:
    location: Location = ("search", "objectives")
    for objective in search.objectives:
        if objective not in OBJECTIVES:
            raise make_error(location, *unknown_objective(objective))
    if problem := wrong_objectives(search.objectives):
        raise make_error(location, problem)
    given = search.model_fields_set
    if "trials" in given and search.sampler == "grid":
        problem = "trials has no effect: the sampler grid tries every combination once."
        raise make_error(("search", "trials"), problem)
    if "pruning" in given and search.pruning and len(search.objectives) > 1:
        problem = "pruning has no effect: with several objectives no trial is worse than another."
        raise make_error(("search", "pruning"), problem)
    for key, domain in search.space.items():
        problem = _span_problem(domain) if isinstance(domain, _Span) else _values_problem(domain)
        if problem:
            raise make_error(("search", "space", key), f"{key} {problem}")


def _values_problem(values: Sequence[Any]) -> str | None:
    """Return what is wrong with the values that are searched, or None."""
    if not values:
        return "has no value."
    if (twice := _twice(values)) is not None:
        return f"has the value {twice!r} twice."
    return None


def _span_problem(span: _Span) -> str | None:
    """Return what is wrong with a range that is searched, or None."""
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
    """Return what is wrong with a list of known objectives, or None."""
    if not names or names[0] != "val_error":
        return "The first objective must be val_error: it chooses the settings of the final runs."
    if (twice := _twice(names)) is not None:
        return f"Objective {twice} is given twice."
    return None


def unknown_objective(name: str) -> tuple[str, str]:
    """Return the message and the hint for an unknown objective."""
    hint = f"{did_you_mean(nearest(name, OBJECTIVES))} {OBJECTIVE_LIST}".lstrip()
    return f"Unknown objective {name!r}.", hint


def _twice(values: Sequence[Any]) -> Any:
    """Return the first value that equals an earlier one, or None.

    1 and 1.0 are equal. true and 1 differ: true is refused where a number is required.
    """
    keys = [(isinstance(value, bool), value) for value in values]
    return next((value for i, (_, value) in enumerate(keys) if keys[i] in keys[:i]), None)


def _problem(path: Path, text: str, errors: Sequence[Any]) -> UsageError:
    """Return the first problem that pydantic found as a message for users."""
    # An unknown field is often the misspelt name of a missing one, so it is reported first.
    error = min(errors, key=lambda error: error["type"] != "extra_forbidden")
    location = [part for part in error["loc"] if not _internal(part)]
    where = _where(path, text, location)
    *table, key = [str(part) for part in location if not isinstance(part, int)] or [""]
    inside = f" of [{'.'.join(table)}]" if table else ""
    if error["type"] == "extra_forbidden":
        elsewhere = SETTINGS if table in ([], ["arms"]) else ""
        near = did_you_mean(nearest(key, _fields(table)))
        hint = f"{near} {elsewhere}{HELP}".lstrip()
        return UsageError(f"{where}: Unknown field {key!r}{inside}.", hint)
    if error["type"] == "missing":
        return UsageError(f"{where}: Field {key!r}{inside} is missing.", HELP)
    if table == ["search", "space"]:
        expected = "a range, as in { low = 0.1, high = 1.0 }, or a list of values"
        given = error["input"]
        return UsageError(f"{where}: Field {key!r}{inside} must be {expected}, but got {given!r}.")
    expected = error["msg"][0].lower() + error["msg"][1:]
    given = error["input"]
    return UsageError(f"{where}: Field {key!r}{inside}: {expected}, but got {given!r}.", HELP)


def _internal(part: Any) -> bool:
    # pydantic inserts the member of a union that it tried.
    return isinstance(part, str) and (part == "_Span" or part.startswith("list["))


def _fields(table: Sequence[str]) -> list[str]:
    models: Mapping[str, type[BaseModel]] = {"search": _Search, "arms": _Arm}
    if not table:
        return list(_File.model_fields)
    if table[-1] in models:
        return list(models[table[-1]].model_fields)
    return list(_Span.model_fields)


def _where(path: Path, text: str, location: Location) -> str:
    """Return ``study.toml, line 12``, or the file alone where the location is not in the text."""
    line = line_of(text, location)
    return str(path) if line is None else f"{path}, line {line}"
