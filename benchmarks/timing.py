"""Timing of several sides in alternation; medians of ratios per round, with bootstrap intervals."""

from __future__ import annotations

import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping

import torch

Seconds = dict[str, list[float]]


def alternate(sides: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1) -> Seconds:
    """Return the seconds of every call, made in rounds of all sides, every second one in reverse.

    The first ``warm_up`` rounds do not count.
    """
    seconds: Seconds = {name: [] for name in sides}
    for repeat in range(-warm_up, repeats):
        order = list(sides) if repeat % 2 else list(sides)[::-1]
        for name in order:
            begin = time.perf_counter()
            sides[name]()
            if repeat >= 0:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def ratio(one: list[float], other: list[float]) -> tuple[float, float, float]:
    """Return the median over rounds of ``one / other``, with its 95 % bootstrap interval.

    Ratios are taken per round, so that differences in the machine's speed between rounds cancel.
    """
    rounds = [a / b for a, b in zip(one, other, strict=True)]
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(rounds, k=len(rounds))) for _ in range(2000))
    return statistics.median(rounds), medians[50], medians[1949]


def machine() -> str:
    """Return a description of the versions and the machine of a measurement."""
    return (
        f"torch {torch.__version__}, Python {platform.python_version()}, {os.cpu_count()} CPUs, "
        f"{torch.get_num_threads()} threads"
    )


def report(seconds: Seconds, unit: float = 1e-3) -> None:
    """Print a line per side: median and range in milliseconds (``unit`` 1e-3) or seconds (1)."""
    name = {1e-3: "ms", 1: "s"}[unit]
    for side, times in seconds.items():
        low, high = min(times) / unit, max(times) / unit
        median = statistics.median(times) / unit
        print(f"{side:28} median {median:8.3f} {name}  [{low:.3f}, {high:.3f}]")


def verdict(what: str, measured: float, bar: float, *, at_most: bool = True) -> bool:
    """Print and return whether a bar is met."""
    met = measured <= bar if at_most else measured >= bar
    sign = "<=" if at_most else ">="
    print(f"{what}: {measured:.3g} (bar {sign} {bar:g}): {'met' if met else 'MISSED'}")
    return met
