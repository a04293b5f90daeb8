"""Figures of a study: by name, as a study's ``figures`` say it, with an argument behind a colon."""

from __future__ import annotations

import re
from collections.abc import Callable

from lbench.containment import contained
from lbench.errors import PluginError
from lbench.registry import registry
from lbench.report.figures.figure import Figure
from lbench.studies.results import Results

FILE = re.compile(r"[\w.-]+")
"""What the name of a figure's files may be."""


def drawing(name: str) -> Callable[[Results, str], list[Figure]]:
    """Return the function that draws what a study's ``figures`` name, without the argument.

    Raises:
        UsageError: nobody brings such a figure, or the probe that it reads; says the nearest.
        PluginError: it cannot be loaded.
    """
    if probe := registry().find("figures", name).probe:
        registry().find("probes", probe)
    function: Callable[[Results, str], list[Figure]] = registry().load("figures", name)
    return function


def draw(results: Results, wanted: str) -> list[Figure]:
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
    if not isinstance(drawn, list) or not all(isinstance(each, Figure) for each in drawn):
        raise PluginError(
            f"Figure {name!r} of plugin {owner!r} returned {drawn!r}, not a list of Figure."
        )
    if wrong := [each.name for each in drawn if not FILE.fullmatch(each.name)]:
        raise PluginError(
            f"Figure {name!r} of plugin {owner!r} returned one with the name {wrong[0]!r}, "
            "which no file can have."
        )
    return drawn
