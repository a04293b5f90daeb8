"""Figures of a study by name, with an argument behind a colon."""

from __future__ import annotations

import re
from collections.abc import Callable

from lbench.containment import contained
from lbench.errors import PluginError
from lbench.registry import registry
from lbench.report.figures.figure import Figure
from lbench.studies.results import StudyResults

FILE = re.compile(r"[\w.-]+")
"""Names that the files of a figure may have."""


def drawing(name: str) -> Callable[[StudyResults, str], list[Figure]]:
    """Return the function that draws a figure, by its name without the argument.

    Raises:
        UsageError: no plugin has such a figure, or the probe that it reads; names the nearest.
        PluginError: it cannot be loaded.
    """
    if probe := registry().find("figures", name).probe:
        registry().find("probes", probe)
    function: Callable[[StudyResults, str], list[Figure]] = registry().load("figures", name)
    return function


def draw(results: StudyResults, wanted: str) -> list[Figure]:
    """Draw a figure by its name, ``lines:leadership``; none where there is nothing to show.

    Call within :func:`lbench.report.figures.figure.style`.

    Raises:
        UsageError: there is no such figure, or its argument does not fit.
        PluginError: it cannot be loaded, or what it returns is no list of figures.
    """
    name, _, argument = wanted.partition(":")
    function = drawing(name)
    with contained():
        drawn = function(results, argument)
    owner = registry().owner("figures", name)
    if not isinstance(drawn, list) or not all(isinstance(figure, Figure) for figure in drawn):
        raise PluginError(
            f"Figure {name!r} of plugin {owner!r} returned {drawn!r}, not a list of Figure."
        )
    if wrong := [figure.name for figure in drawn if not FILE.fullmatch(figure.name)]:
        raise PluginError(
            f"Figure {name!r} of plugin {owner!r} returned one with the name {wrong[0]!r}, "
            "which no file can have."
        )
    return drawn
