"""Probes that work with any rule, with the figures and analyses of what they record."""

from __future__ import annotations

from lbench.hooks import AnalysisEntry, FigureEntry, ProbeEntry, hookimpl

API = 1
REPORT = "lbench_probes.report"


@hookimpl
def lbench_probes() -> list[ProbeEntry]:
    return [
        ProbeEntry(
            "online",
            "Loss and error of each batch before its step: prequential curves",
            "lbench_probes.probes.online:Online",
        ),
        ProbeEntry(
            "linear",
            "Error of a linear classifier of each block's output",
            "lbench_probes.probes.linear:Linear",
        ),
        ProbeEntry(
            "alignment",
            "Angle between each layer's update and the gradient; bias and variance of updates",
            "lbench_probes.probes.alignment:Alignment",
        ),
        ProbeEntry(
            "tasks",
            "Error on every task of a sequence after each task",
            "lbench_probes.probes.tasks:Tasks",
        ),
    ]


@hookimpl
def lbench_figures() -> list[FigureEntry]:
    return [
        FigureEntry(
            "online",
            "Accuracy and loss on each batch before its step",
            f"{REPORT}.online:figures",
            "online",
        ),
        FigureEntry(
            "linear",
            "Error of a linear classifier of each block's output",
            f"{REPORT}.linear:figures",
            "linear",
        ),
        FigureEntry(
            "alignment",
            "Angle between updates and the gradient over training; bias and variance of updates",
            f"{REPORT}.alignment:figures",
            "alignment",
        ),
        FigureEntry(
            "tasks",
            "The error matrix of a sequence of tasks; forgetting against learning error",
            f"{REPORT}.tasks:figures",
            "tasks",
        ),
    ]


@hookimpl
def lbench_analyses() -> list[AnalysisEntry]:
    return [
        AnalysisEntry(
            "depth",
            "Larger values of the last axis compared with the smallest",
            f"{REPORT}.linear:depth",
            "linear",
        ),
        AnalysisEntry(
            "alignment",
            "The rules in the order of their angle to the gradient",
            f"{REPORT}.alignment:analysis",
            "alignment",
        ),
        AnalysisEntry(
            "forgetting",
            "Forgetting of rules that learn a new task equally well",
            f"{REPORT}.tasks:forgetting",
            "tasks",
        ),
    ]
