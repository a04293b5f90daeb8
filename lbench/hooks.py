"""Hooks of plugins, and the entries that they return.

An entry point in the group ``lbench`` names a hook module, which has ``API = 1`` and hooks that
return entries. An entry names its class or function as ``"module:Name"`` and loads nothing, so
that listings and completion stay fast::

    from lbench.hooks import RuleEntry, hookimpl

    API = 1

    @hookimpl
    def lbench_rules() -> list[RuleEntry]:
        return [RuleEntry("mine", "My rule", "Me (2026)", load="my_package.mine:Mine")]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pluggy

API = 1
"""The major version of the plugin interface; a plugin for another version is refused."""

hookspec = pluggy.HookspecMarker("lbench")
hookimpl = pluggy.HookimplMarker("lbench")


@dataclass(frozen=True, slots=True)
class RuleEntry:
    """A learning rule.

    Args:
        name: its name in ``--rule NAME``.
        title: one line that describes the rule.
        paper: authors, year and where to find it.
        load: ``"module:Class"`` of a :class:`lbench.rule.Rule`.
        reference: whether reports compare other rules with this one, and ``equal = "flops"``
            gives them its operations; only one rule may be the reference.
    """

    name: str
    title: str
    paper: str
    load: str
    reference: bool = False


@dataclass(frozen=True, slots=True)
class NetworkEntry:
    """A network family or a preset of one.

    Args:
        name: its name in ``--network NAME``.
        title: one line that describes the network.
        load: ``"module:Class"`` of a :class:`lbench.networks.spec.NetworkSpec`.
        preset: options that differ from the family's defaults.
    """

    name: str
    title: str
    load: str
    preset: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """A dataset.

    Args:
        name: its name in ``--dataset NAME``.
        title: its name in tables.
        load: ``"module:Class"`` of a :class:`lbench.data.source.Source`.
        network: the default network.
        shape: (channels, height, width) of every example with any options; None if it depends on
            the data.
        classes: the number of classes; None if it depends on the data.
        reference: whether networks and claims are shown on this dataset if a command names none;
            only one dataset may be the reference, and it has a shape and classes.
    """

    name: str
    title: str
    load: str
    network: str
    shape: tuple[int, int, int] | None = None
    classes: int | None = None
    reference: bool = False


@dataclass(frozen=True, slots=True)
class SequenceEntry:
    """A kind of sequence of tasks, which every dataset can be.

    Args:
        name: the prefix of its datasets: ``permuted`` for ``--dataset permuted-NAME``.
        title: what stands in front of the title of a dataset.
        load: ``"module:Class"`` of a :class:`lbench.data.sequence.TaskSequence`.
        network: the default network of all of its datasets.
    """

    name: str
    title: str
    load: str
    network: str


@dataclass(frozen=True, slots=True)
class StudyEntry:
    """A study: a question in a TOML file."""

    name: str
    title: str
    path: Path


@dataclass(frozen=True, slots=True)
class PublishedEntry:
    """A CSV file of published numbers, in the columns of ``lbench/published``."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class ProbeEntry:
    """A probe: a read-only measurement during a run.

    Args:
        name: its name in ``--probe NAME``.
        title: one line that describes the measurement.
        load: ``"module:Class"`` of a :class:`lbench.probe.Probe`.
    """

    name: str
    title: str
    load: str


@dataclass(frozen=True, slots=True)
class FigureEntry:
    """A figure of a study's report.

    Args:
        name: its name in a study's ``figures``, without the argument; it has no colon.
        title: one line that describes the figure.
        load: ``"module:function"`` of a function of a :class:`lbench.reporting.StudyData` and
            the argument behind the colon ("" without one). It returns a list of
            :class:`lbench.reporting.Figure`, which is empty if there is nothing to show.
        probe: the probe whose table the function reads; "" for none.
    """

    name: str
    title: str
    load: str
    probe: str = ""


@dataclass(frozen=True, slots=True)
class AnalysisEntry:
    """An analysis: computes the answer to a study's question.

    Args:
        name: its name in a study's ``analysis``.
        title: one line that describes the answer.
        load: ``"module:function"`` of a function of a :class:`lbench.reporting.StudyData` that
            returns a :class:`lbench.reporting.Answer`.
        probe: the probe whose table the function reads; "" for none.
    """

    name: str
    title: str
    load: str
    probe: str = ""


Entry = (
    RuleEntry
    | NetworkEntry
    | DatasetEntry
    | SequenceEntry
    | StudyEntry
    | PublishedEntry
    | ProbeEntry
    | FigureEntry
    | AnalysisEntry
)


class HookSpecs:
    """The hooks. Each returns a list of entries and has no arguments."""

    @hookspec
    def lbench_rules(self) -> list[RuleEntry]:  # type: ignore[empty-body]
        """Return the plugin's learning rules."""

    @hookspec
    def lbench_networks(self) -> list[NetworkEntry]:  # type: ignore[empty-body]
        """Return the plugin's networks."""

    @hookspec
    def lbench_datasets(self) -> list[DatasetEntry]:  # type: ignore[empty-body]
        """Return the plugin's datasets."""

    @hookspec
    def lbench_sequences(self) -> list[SequenceEntry]:  # type: ignore[empty-body]
        """Return the plugin's kinds of sequences of tasks."""

    @hookspec
    def lbench_studies(self) -> list[StudyEntry]:  # type: ignore[empty-body]
        """Return the plugin's studies."""

    @hookspec
    def lbench_published(self) -> list[PublishedEntry]:  # type: ignore[empty-body]
        """Return the plugin's files of published numbers."""

    @hookspec
    def lbench_probes(self) -> list[ProbeEntry]:  # type: ignore[empty-body]
        """Return the plugin's probes."""

    @hookspec
    def lbench_figures(self) -> list[FigureEntry]:  # type: ignore[empty-body]
        """Return the plugin's figures of reports."""

    @hookspec
    def lbench_analyses(self) -> list[AnalysisEntry]:  # type: ignore[empty-body]
        """Return the plugin's analyses of studies."""
