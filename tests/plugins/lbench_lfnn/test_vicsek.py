"""The Vicsek model against loops, and against what is known of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lbench.auditing.generators import seeded
from lbench_lfnn.report.vicsek import Array, Vicsek, neighbours, simulate, wrapped

DENSE: dict[str, Any] = {"box": 3.0, "radius": 1.0, "speed": 0.1, "seed": 0}
SPARSE: dict[str, Any] = {"box": 7.0, "radius": 1.0, "speed": 0.5, "seed": 1}


def apart(a: Array, b: Array) -> Array:
    """Smallest distance between angles."""
    return np.abs(np.angle(np.exp(1j * (a - b))))


def turned(flock: Vicsek, now: int, box: float, radius: float) -> Array:
    """Where each particle heads next without noise, by looking at every image of every other."""
    at, heading = flock.positions[now], flock.headings[now]
    found = []
    for i in range(len(at)):
        sine = cosine = 0.0
        for j in range(len(at)):
            images = [
                math.dist(at[i], at[j] + box * np.array([dx, dy]))
                for dx in (-1, 0, 1)
                for dy in (-1, 0, 1)
            ]
            if min(images) <= radius:
                sine += math.sin(heading[j])
                cosine += math.cos(heading[j])
        found.append(math.atan2(sine, cosine))
    return np.array(found)


def test_particles_head_where_their_neighbours_do() -> None:
    flock = simulate(25, 12, noise=0.0, **SPARSE)
    for now in range(12):
        expected = turned(flock, now, 7.0, 1.0)
        assert apart(flock.headings[now + 1], expected).max() < 1e-9
    assert apart(flock.headings[0], flock.headings[1]).max() > 0.5


def test_noise_is_uniform_and_as_wide_as_it_says() -> None:
    flock = simulate(200, 2, noise=1.0, **SPARSE)
    expected = np.stack([turned(flock, now, 7.0, 1.0) for now in range(2)])
    off = np.angle(np.exp(1j * (flock.headings[1:] - expected)))
    assert np.abs(off).max() <= 0.5
    assert np.std(off) == pytest.approx(1 / math.sqrt(12), rel=0.1)
    assert abs(np.mean(off)) < 0.05


def test_particles_move_by_their_speed_along_their_heading() -> None:
    flock = simulate(40, 60, noise=1.0, **SPARSE)
    moved = flock.positions[1:] - flock.positions[:-1]
    moved -= 7.0 * np.round(moved / 7.0)
    heading = flock.headings[:-1]
    expected = 0.5 * np.stack([np.cos(heading), np.sin(heading)], axis=2)
    np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-12)


def test_who_leaves_on_one_side_comes_in_on_the_other() -> None:
    flock = simulate(40, 60, noise=1.0, **SPARSE)
    assert (flock.positions >= 0).all()
    assert (flock.positions < 7.0).all()
    jumps = np.abs(np.diff(flock.positions, axis=0)) > 1.0
    assert jumps.any(axis=(0, 1)).all()
    edge = wrapped(np.array([[-1e-18, 7.0], [-0.25, 7.25]]), 7.0)
    np.testing.assert_array_equal(edge, [[0.0, 0.0], [6.75, 0.25]])


def test_neighbours_see_each_other_across_edges_and_corners() -> None:
    at = np.array([[0.1, 0.1], [9.9, 0.1], [9.9, 9.9], [5.0, 5.0], [5.0, 5.9]])
    near = neighbours(at, box=10.0, radius=0.5)
    expected = np.eye(5, dtype=bool)
    expected[:3, :3] = True
    np.testing.assert_array_equal(near, expected)
    assert neighbours(at, box=10.0, radius=0.95)[3, 4]


@pytest.mark.parametrize("seed", range(3))
def test_a_dense_flock_without_noise_comes_to_one_heading(seed: int) -> None:
    flock = simulate(100, 150, noise=0.0, **DENSE | {"seed": seed})
    assert flock.order[0] < 0.5
    assert flock.order[-1] > 0.999


def test_under_full_noise_order_is_that_of_random_headings() -> None:
    """The mean length of a mean of N random unit vectors is sqrt(pi / 4N)."""
    for count in (25, 100):
        order = simulate(count, 1000, noise=2 * math.pi, **DENSE).order
        assert order.mean() == pytest.approx(math.sqrt(math.pi / (4 * count)), rel=0.08)


def test_order_falls_as_noise_grows() -> None:
    orders = [
        simulate(100, 300, noise=noise, **DENSE).order[150:].mean() for noise in (0.5, 2.5, 4.5, 6)
    ]
    assert orders == sorted(orders, reverse=True)
    assert orders[0] > 0.9
    assert orders[-1] < 0.3


def test_order_is_the_length_of_the_mean_heading() -> None:
    flock = simulate(30, 5, noise=1.0, **SPARSE)
    assert flock.positions.shape == (6, 30, 2)
    for order, headings in zip(flock.order, flock.headings, strict=True):
        assert order == pytest.approx(abs(sum(np.exp(1j * h) for h in headings)) / 30)


def test_leaders_keep_their_heading_and_the_others_come_to_it() -> None:
    flock = simulate(60, 400, noise=0.0, leaders=6, **DENSE)
    heading = flock.headings[0, 0]
    assert (flock.headings[:, :6] == heading).all()
    assert apart(flock.headings[0, 6:], heading).max() > 2
    assert apart(flock.headings[-1], heading).max() < 0.01
    alone = simulate(60, 400, noise=0.0, **DENSE)
    assert apart(alone.headings[-1], heading).max() > 0.1


def test_the_seed_decides_everything_and_nothing_else_does() -> None:
    touched: set[str] = set()
    with seeded(1, touched):
        one = simulate(20, 10, noise=1.0, **SPARSE)
    with seeded(2, touched):
        same = simulate(20, 10, noise=1.0, **SPARSE)
    other = simulate(20, 10, noise=1.0, **SPARSE | {"seed": 2})
    assert not touched
    for name in ("positions", "headings", "order"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
        assert not np.array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize(
    "wrong",
    [{"particles": 0}, {"leaders": 4}, {"leaders": -1}, {"steps": -1}, {"box": 0.0}, {"noise": -1}],
    ids=str,
)
def test_what_is_no_flock_is_refused(wrong: dict[str, Any]) -> None:
    given: dict[str, Any] = {"particles": 3, "steps": 1, "noise": 0.0, **SPARSE}
    assert simulate(**given).order.shape == (2,)
    with pytest.raises(ValueError, match="no flock"):
        simulate(**{**given, **wrong})
