"""What a study is: a question, its arms and axes, and the search at each point."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

OBJECTIVES = ("val_error", "peak_memory", "step_memory", "step_ms", "seconds", "params")
"""What a search may minimise; the first decides where there is only one."""
SAMPLERS = ("tpe", "gp", "random", "qmc", "cmaes", "grid")
FIRST_FINAL_SEED = 1000
"""First seed of final runs behind a search: none of its trials has seen it."""


@dataclass(frozen=True, slots=True)
class Span:
    """A range that is searched.

    Args:
        low: smallest value.
        high: largest value.
        step: grid; None for none.
        log: uniform in the logarithm.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False


Choices = tuple[Any, ...]
Domain = Span | Choices
"""A range, or the values themselves."""


@dataclass(frozen=True, slots=True)
class Search:
    """A search at each point of a study, on validation error under the strict protocol.

    Args:
        trials: at each point; of the sampler "grid" all combinations, whatever this says.
        sampler: one of :data:`SAMPLERS`.
        pruning: whether a trial that is worse than the median is cut short.
        objectives: some of :data:`OBJECTIVES`; with several there is no pruning.
        seeds: runs of a trial; its value is their mean.
        epochs: budget of a trial; None for that of the final runs.
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
    """A rule in a study, with what is set for it.

    Args:
        rule: its name; ``*`` for every installed one.
        name: what tables call it; "" for the rule and its settings.
        settings: by name as the command line has them: a rule's option or a part of the recipe
            plain, ``net.widths`` an option of the network, ``data.permute`` of the dataset, and
            ``epochs``, ``examples``, ``labels``, ``blocks``, ``augment``, ``precision``. With
            ``equal = "flops"`` a run takes as many operations as the reference rule in its epochs.
        axes: settings that take several values, every combination a point.
        network: the arm's own; None for the study's.
    """

    rule: str
    name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    axes: Mapping[str, Choices] = field(default_factory=dict)
    network: str | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """A question with the runs that answer it; read from a TOML file.

    Args:
        name: of the study, also of its directory and its MLflow experiment.
        title: one line.
        question: what is asked, in sentences.
        kind: ``grid`` or ``search``.
        arms: rules with their settings.
        datasets: by name; the plan keeps those that are there.
        networks: by name; none for each dataset's own.
        protocol: of the final runs.
        seeds: final runs a point.
        search: at each point; None for none.
        probes: what is measured during final runs.
        analysis: how the answer is worked out, a name that a plugin's ``lbench_analyses`` brings.
        figures: names that plugins' ``lbench_figures`` bring, in order.
        margin: within which two errors count as equal, in points; stated in advance.
        published: the counterpart in a paper, in words.
        path: the file.
        version: of what it asks for; its words, figures and numbers of runs are not part of it.
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
    path: Path | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """One place of a study: what a search is made at, or a cell is trained at.

    Args:
        arm: index of the arm.
        rule: its name.
        dataset: its name.
        network: its name.
        values: of the axes, in their order.
        settings: all that is set there, the axes' values among them.
        label: the arm's name; "" for none.
    """

    arm: int
    rule: str
    dataset: str
    network: str
    values: Mapping[str, Any]
    settings: Mapping[str, Any]
    label: str = ""

    @property
    def key(self) -> str:
        """Unique in its study: ``lfnn_l/mnist/mlp-275k/leadership=0.3``."""
        shown = ",".join(f"{name}={_text(value)}" for name, value in self.values.items())
        parts = [f"{self.rule}:{self.label}" if self.label else self.rule]
        parts += [self.dataset, self.network]
        return "/".join([*parts, shown] if shown else parts)


@dataclass(frozen=True, slots=True)
class UntrainablePoint:
    """A point at which nothing can be trained, though the study as such is sound.

    Args:
        point: where.
        reason: why, in a sentence.
    """

    point: Point
    reason: str


def digest(content: Any) -> str:
    """Eight hex digits of a value's canonical JSON."""
    text = json.dumps(content, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _plain(value: Any) -> Any:
    return asdict(value) if isinstance(value, Span) else str(value)


def _text(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "+".join(_text(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
