"""The Vicsek model of particles that copy the headings of their neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Vicsek:
    """A simulated flock, before the first step and after each.

    Args:
        positions: in [0, box), (steps + 1, particles, 2).
        headings: in radians, in [-pi, pi], (steps + 1, particles).
        order: length of the mean of all unit headings, 1 where all are alike, (steps + 1,).
    """

    positions: Array
    headings: Array
    order: Array


def simulate(
    particles: int,
    steps: int,
    *,
    box: float,
    radius: float,
    speed: float,
    noise: float,
    leaders: int = 0,
    seed: int,
) -> Vicsek:
    """Simulate particles in a periodic square that turn to the mean heading around them.

    In each step all move by ``speed`` along their heading, then head where those within ``radius``
    of where they were headed on average, themselves too, plus a uniform angle between -noise/2
    and noise/2 (Vicsek et al. 1995, Physical Review Letters 75:1226, Eqs. 1 and 2). They begin
    anywhere, heading anywhere. The first ``leaders`` have one heading in common and copy no other
    (as the leader of Jadbabaie, Lin and Morse 2003, IEEE Transactions on Automatic Control
    48:988). A step takes time and memory as the square of the particles.

    Raises:
        ValueError: there are no particles, more leaders than particles, or a size is no size.
    """
    if particles < 1 or steps < 0 or not 0 <= leaders <= particles:
        raise ValueError(f"no flock: {particles} particles, {leaders} leaders, {steps} steps")
    if min(box, radius) <= 0 or min(speed, noise) < 0:
        raise ValueError(f"no flock: box {box}, radius {radius}, speed {speed}, noise {noise}")
    generator = np.random.default_rng(seed)
    positions = np.empty((steps + 1, particles, 2))
    headings = np.empty((steps + 1, particles))
    positions[0] = generator.uniform(0, box, (particles, 2))
    headings[0] = generator.uniform(-np.pi, np.pi, particles)
    headings[0, :leaders] = headings[0, 0]
    for now in range(steps):
        at, heading = positions[now], headings[now]
        turned = mean_headings(heading, neighbours(at, box=box, radius=radius))
        turned += generator.uniform(-noise / 2, noise / 2, particles)
        headings[now + 1] = np.arctan2(np.sin(turned), np.cos(turned))
        headings[now + 1, :leaders] = heading[:leaders]
        velocity = speed * np.stack([np.cos(heading), np.sin(heading)], axis=1)
        positions[now + 1] = wrapped(at + velocity, box)
    order = np.hypot(np.cos(headings).mean(1), np.sin(headings).mean(1))
    return Vicsek(positions, headings, order)


def neighbours(positions: Array, *, box: float, radius: float) -> npt.NDArray[np.bool_]:
    """Return who is within ``radius`` of whom, across edges too, (particles, particles)."""
    gap = positions[:, None] - positions[None]
    gap -= box * np.round(gap / box)
    near: npt.NDArray[np.bool_] = np.square(gap).sum(2) <= radius**2
    return near


def mean_headings(headings: Array, near: npt.NDArray[np.bool_]) -> Array:
    """Return the heading of the mean unit vector of each particle's neighbours, (particles,)."""
    mean: Array = np.arctan2(near @ np.sin(headings), near @ np.cos(headings))
    return mean


def wrapped(positions: Array, box: float) -> Array:
    """Return the same places in [0, box); what is a rounding below 0 is 0."""
    inside = np.mod(positions, box)
    return np.where(inside < box, inside, 0.0)
