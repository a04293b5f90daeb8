"""The definition of a study: a question, its arms and axes, and the search at each point."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from lbench.quantities import QUANTITIES

OBJECTIVES = (*(quantity.key for quantity in QUANTITIES if quantity.objective), "params")
"""Quantities that a search may minimise; val_error is the default and always the first."""
SAMPLERS = ("tpe", "gp", "random", "qmc", "cmaes", "grid")
FIRST_FINAL_SEED = 1000
"""First seed of the final runs after a search. No trial of the search uses it."""


@dataclass(frozen=True, slots=True)
class Span:
    """A range of values that a search samples from.

    Args:
        low: smallest value.
        high: largest value.
        step: distance between neighbouring values; None for a continuous range.
        log: whether values are sampled uniformly in the logarithm.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False


Choices = tuple[Any, ...]
Domain = Span | Choices
"""A range, or a list of values."""


@dataclass(frozen=True, slots=True)
class Search:
    """A search at each point of a study, on validation error under the strict protocol.

    Args:
        trials: number of trials per point. The sampler "grid" ignores it and tries every
            combination.
        sampler: one of :data:`SAMPLERS`.
        pruning: whether a trial that is worse than the median is stopped early.
        objectives: some of :data:`OBJECTIVES`; with several there is no pruning.
        seeds: runs per trial; the trial's value is their mean.
        epochs: budget of a trial; None for the budget of the final runs.
        only: the rule's options that are searched; None for all that declare a range.
        space: domains that replace or narrow the declared ones, by setting.
    """

    trials: int = 50
    sampler: str = "tpe"
    pruning: bool = True
    objectives: tuple[str, ...] = ("val_error",)
    seeds: int = 1
    epochs: int | None = None
    only: tuple[str, ...] | None = None
    space: Mapping[str, Domain] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Arm:
    """A rule in a study, with its settings.

    Args:
        rule: its name; ``*`` for every installed rule.
        name: label in tables; "" for the rule and its settings.
        settings: values by name, with the names of the command line: an option of the rule or a
            part of the recipe by its plain name, ``net.widths`` for an option of the network,
            ``data.permute`` for one of the dataset, and ``epochs``, ``examples``, ``labels``,
            ``blocks``, ``augment``, ``precision``, ``microbatch``, ``encoder``,
            ``freeze_encoder``. With ``equal = "flops"`` a run takes as many
            operations as the reference rule takes in its epochs.
        axes: settings with several values; every combination is a point.
        network: the arm's own network; None for the study's networks.
    """

    rule: str
    name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    axes: Mapping[str, Choices] = field(default_factory=dict)
    network: str | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """A question with the runs that answer it, read from a TOML file.

    Args:
        name: name of the study, its directory and its MLflow experiment.
        title: one line.
        question: the question, in full sentences.
        kind: ``grid`` or ``search``.
        arms: rules with their settings.
        datasets: names; the plan keeps those whose data is available.
        networks: names; empty for the default network of each dataset.
        protocol: protocol of the final runs.
        seeds: number of final runs per point.
        search: search at each point; None for a grid.
        probes: names of the measurements during final runs.
        analysis: how the answer is computed, a name from a plugin's ``lbench_analyses``.
        figures: names from plugins' ``lbench_figures``, in order.
        margin: difference up to which two errors count as equal, in points; fixed in advance.
        published: the published counterpart, in words.
        networks_by_dataset: names of networks that replace ``networks`` on a dataset, by its name.
        fallback: options of rules that an arm gets only on datasets and networks where its rule
            needs them, see :mod:`lbench.studies.configurations`.
        network_options: options of the study's networks that the command line gives.
        path: the TOML file; None for a search of ``lbench tune``.
        version: digest of the points and searches. Words, figures and numbers of runs are not
            part of it.
    """

    name: str
    title: str
    question: str
    kind: Literal["grid", "search"]
    arms: tuple[Arm, ...]
    datasets: tuple[str, ...]
    networks: tuple[str, ...] = ()
    protocol: Literal["strict", "paper"] = "paper"
    seeds: int = 3
    search: Search | None = None
    probes: tuple[str, ...] = ()
    analysis: str = "best"
    figures: tuple[str, ...] = ()
    margin: float | None = None
    published: str = ""
    networks_by_dataset: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fallback: Mapping[str, Any] = field(default_factory=dict)
    network_options: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a study: an arm, a dataset, a network and one value per axis.

    A search is run, or a configuration is trained, at each point.

    Args:
        arm: index of the arm.
        rule: name of the rule.
        dataset: name of the dataset.
        network: name of the network.
        values: value of each axis, in the order of the axes.
        settings: all settings of the point, including the values of the axes.
        label: name of the arm; "" for none.
        fallback: which settings of the study's fallback it has and why, in sentences; "" for none.
    """

    arm: int
    rule: str
    dataset: str
    network: str
    values: Mapping[str, Any]
    settings: Mapping[str, Any]
    label: str = ""
    fallback: str = ""

    @property
    def key(self) -> str:
        """Return its name, unique in the study: ``lfnn_l/mnist/mlp-275k/leadership=0.3``."""
        values = ",".join(f"{name}={_text(value)}" for name, value in self.values.items())
        parts = [f"{self.rule}:{self.label}" if self.label else self.rule]
        parts += [self.dataset, self.network]
        return "/".join([*parts, values] if values else parts)


@dataclass(frozen=True, slots=True)
class UntrainablePoint:
    """A point at which nothing can be trained, although the study itself is valid.

    Args:
        point: the point.
        reason: why it cannot be trained, in a sentence.
    """

    point: Point
    reason: str


def digest(content: Any) -> str:
    """Return the first eight hex digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(content, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _plain(value: Any) -> Any:
    return asdict(value) if isinstance(value, Span) else str(value)


def _text(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "+".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
