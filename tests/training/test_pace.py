"""The step time is that of the quickest stretches; the share of a core shows other work."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from lbench.training.clock import Clock
from lbench.training.pace import Pace
from tests.training.helper import ask, run


def pace(*stretches: tuple[str, int, float], core: float | None = 1.0) -> Pace:
    """Return a pace with a slow first stretch and then these (phase, steps, ms per step)."""
    made = Pace()
    made.add("all", 25, 100.0, None if core is None else 0.0)
    for phase, steps, milliseconds in stretches:
        seconds = steps * milliseconds / 1000
        made.add(phase, steps, seconds, None if core is None else core * seconds)
    return made


def test_stretches_that_other_work_slowed_down_do_not_count() -> None:
    quick = [("all", 25, 2.0)] * 3
    assert pace(*quick, *[("all", 25, 60.0)] * 27).step_ms == pytest.approx(2.0)
    assert pace(*quick).step_ms == pytest.approx(2.0)


def test_phases_are_weighted_by_their_steps() -> None:
    step_ms = pace(*[("a", 25, 2.0)] * 3, ("b", 25, 10.0), ("b", 25, 30.0)).step_ms
    assert step_ms == pytest.approx((75 * 2 + 50 * 10) / 125)


def test_a_short_stretch_does_not_count_as_a_quick_one() -> None:
    assert pace(("all", 25, 3.0), ("all", 1, 0.1)).step_ms == pytest.approx(3.0)


def test_a_run_with_only_a_warm_up_has_no_step_time() -> None:
    assert (pace().step_ms, pace().core_share) == (None, None)


def test_the_share_of_a_core_is_over_all_stretches_and_unknown_on_a_gpu() -> None:
    stretches = [("all", 25, 2.0), ("all", 25, 4.0)]
    assert pace(*stretches, core=0.5).core_share == pytest.approx(0.5)
    assert pace(*stretches, core=None).core_share is None


def test_a_thread_that_does_not_run_has_no_core() -> None:
    clock = Clock(torch.device("cpu"))
    with clock.measure("training"):
        time.sleep(0.05)
        with clock.paused():
            sum(range(10**6))
    asleep = clock.core()
    assert asleep is not None
    assert asleep < 0.25 * clock.seconds()["training"]
    with clock.measure("evaluation"):
        sum(range(10**6))
    assert clock.core() == asleep
    assert Clock(torch.device("cuda")).core() is None


def test_a_result_has_step_time_and_share_of_a_core(tmp_path: Path) -> None:
    (outcome,) = run(tmp_path, ask("bp", epochs=3))
    assert outcome.result["step_ms"] > 0
    assert 0 < outcome.result["core_share"] <= 1
