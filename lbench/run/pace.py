"""How long a training step takes when nothing else runs, and whether something else did."""

from __future__ import annotations

from collections import defaultdict

QUICKEST = 10
"""One stretch in this number of stretches counts, at least one per phase."""
BUSY = 0.9
"""A run that had a core for a smaller share of its training time shared it with other work."""


class Pace:
    """Collects the time of stretches of steps, by phase.

    A stretch is the steps between two looks at the run (25, fewer at an epoch's end). The first
    one of a process warms up: it does not count.
    """

    def __init__(self) -> None:
        self._stretches: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._warm = False
        self._core: float | None = 0.0

    def add(self, phase: str, steps: int, seconds: float, core: float | None) -> None:
        """Count a stretch.

        Args:
            phase: name of the phase that its steps belong to.
            steps: in the stretch.
            seconds: that it took.
            core: seconds of them in which the training thread had a core; None where that says
                nothing, as on a GPU.
        """
        if not self._warm:
            self._warm = True
            return
        self._stretches[phase].append((steps, seconds))
        self._core = None if core is None or self._core is None else self._core + core

    @property
    def step_ms(self) -> float | None:
        """Milliseconds per step in the quickest tenth of the stretches; None without a stretch.

        Phases count by their steps. Short stretches are left out where there are longer ones:
        the time of a single step scatters more.
        """
        total = sum(steps for stretches in self._stretches.values() for steps, _ in stretches)
        if not total:
            return None
        seconds = 0.0
        for stretches in self._stretches.values():
            longest = max(steps for steps, _ in stretches)
            each = sorted(time / steps for steps, time in stretches if steps == longest)
            quickest = each[: max(1, len(each) // QUICKEST)]
            seconds += sum(steps for steps, _ in stretches) * sum(quickest) / len(quickest)
        return 1000 * seconds / total

    @property
    def core_share(self) -> float | None:
        """Share of the training time in which the run had a core; None where it is not known."""
        seconds = sum(time for stretches in self._stretches.values() for _, time in stretches)
        if not seconds or self._core is None:
            return None
        return min(1.0, self._core / seconds)
