"""The time of a training step on a machine without other work, and a measure of other work."""

from __future__ import annotations

from collections import defaultdict

QUICKEST = 10
"""One stretch in this number of stretches counts, at least one per phase."""
BUSY = 0.9
"""A run that had a core for a smaller share of its training time shared it with other work."""


class Pace:
    """The times of stretches of steps, by phase.

    A stretch is the steps between two checks of the run (25, fewer at an epoch's end). The first
    stretch of a process is a warm-up and does not count.
    """

    def __init__(self) -> None:
        self._stretches: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._warm = False
        self._core: float | None = 0.0

    def add(self, phase: str, steps: int, seconds: float, core: float | None) -> None:
        """Count a stretch.

        Args:
            phase: name of the phase that its steps belong to.
            steps: number of steps in the stretch.
            seconds: duration of the stretch.
            core: those of the seconds in which the training thread had a core; None where that
                has no meaning, as on a GPU.
        """
        if not self._warm:
            self._warm = True
            return
        self._stretches[phase].append((steps, seconds))
        self._core = None if core is None or self._core is None else self._core + core

    @property
    def step_ms(self) -> float | None:
        """Return the milliseconds per step in the quickest tenth of the stretches.

        Phases are weighted by their steps. Stretches shorter than the longest of their phase are
        left out: times of few steps scatter more. Without a stretch the value is None.
        """
        total = sum(steps for stretches in self._stretches.values() for steps, _ in stretches)
        if not total:
            return None
        seconds = 0.0
        for stretches in self._stretches.values():
            longest = max(steps for steps, _ in stretches)
            step_times = sorted(time / steps for steps, time in stretches if steps == longest)
            quickest = step_times[: max(1, len(step_times) // QUICKEST)]
            seconds += sum(steps for steps, _ in stretches) * sum(quickest) / len(quickest)
        return 1000 * seconds / total

    @property
    def core_share(self) -> float | None:
        """Return the share of the training time in which the run had a core; None if unknown."""
        seconds = sum(time for stretches in self._stretches.values() for _, time in stretches)
        if not seconds or self._core is None:
            return None
        return min(1.0, self._core / seconds)
