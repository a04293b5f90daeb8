"""Coverage of intervals and level of tests, at the n for which they are claimed to hold.

Claim: 95 % intervals cover in 93.5 to 96.5 % of experiments, and tests at 5 % reject true
hypotheses in at most 5 %. All experiments are simulated from a known truth; every number comes
from the function that lbench uses. The level of an exact test is just 5 %, so tests are allowed
three standard errors of the simulation. Lines without a bar are outside the n of a claim.

    python benchmarks/coverage.py [--trials 4000] [--part errors]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence

import error_intervals
import numpy as np
import numpy.typing as npt
from checks import (
    COVERS,
    LEAST,
    NONE,
    SIZE,
    WIDTH,
    Check,
    Draws,
    Matrix,
    by_seed,
    inside,
    often,
    plural,
)
from scipy import stats

from lbench.statistics.aggregate import interquartile_mean, probability_of_improvement
from lbench.statistics.best import best_set, indistinguishable
from lbench.statistics.equivalence import EQUIVALENT, paired_equivalence, welch_equivalence
from lbench.statistics.examples import examples
from lbench.statistics.intervals import binomial, interval
from lbench.statistics.multiple import holm
from lbench.statistics.paired_tests import paired_tests


def seeds(trials: int) -> Iterator[Check]:
    """Check intervals and tests over seeds, for normal errors."""
    for n in (3, 5, 10):

        def covers(rng: Draws, n: int = n) -> bool | None:
            result = interval(rng.normal(2.0, 0.3, n).tolist())
            return inside(2.0, result.low, result.high)

        yield Check("t interval", f"{n} seeds", often(trials, covers), COVERS, trials)
    for n in (2, 3, 5, 10):

        def rejects(rng: Draws, n: int = n) -> bool | None:
            result = paired_tests(by_seed(rng.normal(2, 0.3, n)), by_seed(rng.normal(2, 0.1, n)))
            return result is not None and result.p is not None and result.p <= 0.05

        yield Check("paired t test", f"{n} seeds", often(trials, rejects), SIZE, trials)
    for n, digits in ((6, 9), (10, 9), (10, 1)):

        def signed(rng: Draws, n: int = n, digits: int = digits) -> bool | None:
            a, b = rng.exponential(1, (2, n)).round(digits)
            result = paired_tests(by_seed(a), by_seed(b))
            return result is not None and result.wilcoxon is not None and result.wilcoxon <= 0.05

        ties = ", ties" if digits < 9 else ""
        where = f"{n} seeds{ties}, skewed errors"
        yield Check("Wilcoxon signed-rank test", where, often(trials, signed), SIZE, trials)


def errors(trials: int) -> Iterator[Check]:
    """Check intervals over seeds for errors that are counts of examples, on the whole grid."""
    for method, where, result in error_intervals.lines(trials):
        width = where.startswith("width")
        held = method in (error_intervals.CHOSEN, error_intervals.FLIPS)
        bar = NONE if not held else WIDTH if width else LEAST
        yield Check(method, where, result, bar, trials, digits=2)


def wilson() -> Iterator[Check]:
    """Compute the coverage over all possible numbers of wrong examples."""
    for n in (360, 10_000):
        for error in (1.5, 10.0):
            wrong = np.arange(n + 1)
            chance = stats.binom.pmf(wrong, n, error / 100)
            covered = sum(
                float(chance[k])
                for k in wrong
                if chance[k] > 1e-12 and inside(error, *binomial(100 * float(k) / n, n))
            )
            where = f"{n:,} examples, error {error:g} %"
            yield Check("Wilson interval", where, 100 * covered, COVERS, 1)


DIFFICULTY = ((0.88, 0.004), (0.09, 0.25), (0.03, 0.8))
"""Shares of test examples, and probabilities that a network is wrong on them: mean 5.0 %."""


ERROR = 100 * sum(share * rate for share, rate in DIFFICULTY)


def difficulty(rng: Draws, n: int) -> npt.NDArray[np.float64]:
    shares, rates = zip(*DIFFICULTY, strict=True)
    return np.asarray(rates)[rng.choice(len(rates), n, p=shares)]


def networks(rng: Draws, n: int, count: int, cells: Sequence[float]) -> list[Matrix]:
    """Return which predictions are right, (seeds, examples), for each scale of errors."""
    hard = difficulty(rng, n)
    return [rng.uniform(size=(count, n)) >= hard * scale for scale in cells]


def over_examples(trials: int) -> Iterator[Check]:
    for n, count in ((360, 1), (360, 3), (10_000, 1), (10_000, 3)):
        for scale in (1.0, 0.8):

            def covers(
                rng: Draws, n: int = n, count: int = count, scale: float = scale
            ) -> bool | None:
                result = examples(*networks(rng, n, count, (1.0, scale)))
                return inside(ERROR * (1 - scale), result.low, result.high)

            where = (
                f"{n:,} examples, {count} seed{'s' * (count > 1)}, {ERROR * (1 - scale):.1f} points"
            )
            yield Check("paired bootstrap", where, often(trials, covers), COVERS, trials)
    for n, count in ((360, 1), (360, 3), (10_000, 1), (10_000, 3)):

        def rejects(rng: Draws, n: int = n, count: int = count) -> bool | None:
            return examples(*networks(rng, n, count, (1.0, 1.0))).p <= 0.05

        where = f"{n:,} examples, {count} seed{'s' * (count > 1)}"
        yield Check("McNemar's test", where, often(trials, rejects), SIZE, trials)

    def lopsided(rng: Draws) -> bool | None:
        # One side is always wrong on a few, the other sometimes wrong on three times as many.
        kind = rng.choice(3, 360, p=[0.82, 0.045, 0.135])
        a = np.broadcast_to(kind != 1, (3, 360))
        b = (kind != 2) | (rng.integers(3, size=360) != np.arange(3)[:, None])
        return examples(a, b).p <= 0.05

    where = "360 examples, 3 seeds, errors of unlike kinds"
    yield Check("McNemar's test", where, often(trials, lopsided), SIZE, trials)

    def mid(rng: Draws) -> bool | None:
        return examples(*networks(rng, 360, 1, (1.0, 1.0))).p_mid <= 0.05

    yield Check("McNemar's mid-p", "360 examples, 1 seed", often(trials, mid), SIZE, trials)


def two_way(a: Matrix, b: Matrix, rng: Draws) -> tuple[float, float]:
    """Return the interval of a bootstrap of seeds and examples at once, which lbench omits."""
    drawn = []
    worse = a.astype(np.int8) - b
    for _ in range(500):
        rows = rng.integers(len(a), size=len(a))
        weights = np.bincount(rng.integers(a.shape[1], size=a.shape[1]), minlength=a.shape[1])
        drawn.append(float((worse[rows] @ weights).mean()) / a.shape[1])
    low, high = np.percentile(drawn, [2.5, 97.5])
    return 100 * float(low), 100 * float(high)


def left_out(trials: int) -> Iterator[Check]:
    trials = trials // 4
    for count in (3, 5, 10):

        def covers(rng: Draws, count: int = count) -> bool | None:
            # Seeds differ by more than their examples do: each has its own scale.
            scales = 1 + 0.08 * rng.normal(size=(2, count, 1))
            a, b = rng.uniform(size=(2, count, 10_000)) >= difficulty(rng, 10_000) * scales
            return inside(0.0, *two_way(a, b, rng))

        name = "two-way bootstrap (left out)"
        where = f"10,000 examples, {count} seed{'s' * (count > 1)}"
        yield Check(name, where, often(trials, covers), NONE, trials)


def equivalence(trials: int) -> Iterator[Check]:
    for n in (3, 5, 10):

        def in_pairs(rng: Draws, n: int = n) -> bool | None:
            a, b = rng.normal(2.2, 0.05, n), rng.normal(2.0, 0.05, n)
            result = paired_equivalence(by_seed(a), by_seed(b), 0.2)
            return result is not None and result.verdict == EQUIVALENT

        where = f"{n} seeds, at the margin"
        yield Check("equivalence, paired", where, often(trials, in_pairs), SIZE, trials)
    for n, m, bar in ((2, 5, NONE), (3, 10, NONE), (5, 5, SIZE), (5, 10, SIZE), (10, 10, SIZE)):

        def unpaired(rng: Draws, n: int = n, m: int = m) -> bool | None:
            a, b = rng.normal(2.2, 0.09, n), rng.normal(2.0, 0.03, m)
            return welch_equivalence(a.tolist(), b.tolist(), 0.2).verdict == EQUIVALENT

        where = f"{n} and {m} seeds, at the margin, spreads 3 to 1"
        yield Check("equivalence, Welch", where, often(trials, unpaired), bar, trials)


def several(trials: int) -> Iterator[Check]:
    fewer = max(trials // 4, 200)
    yield from comparisons(trials)
    yield from sets_by_seed(trials)
    yield from sets_by_example(fewer)
    yield from sets_of_trials(fewer)


def comparisons(trials: int) -> Iterator[Check]:
    for n in (3, 10):

        def rejects(rng: Draws, n: int = n) -> bool | None:
            # Ten configurations are compared with the first, all equal, so the tests are dependent.
            first, *others = [by_seed(rng.normal(2, 0.2, n)) for _ in range(11)]
            tests = [paired_tests(other, first) for other in others]
            adjusted = holm([test.p for test in tests if test is not None])
            return min(p for p in adjusted if p is not None) <= 0.05

        where = f"10 comparisons with one configuration, {n} seeds: any rejected"
        yield Check("Holm", where, often(trials, rejects), SIZE, trials)


def sets_by_seed(trials: int) -> Iterator[Check]:
    for n, groups in ((3, 5), (3, 10), (5, 5), (10, 10)):
        for paired in (True, False):

            def gone(
                rng: Draws, n: int = n, groups: int = groups, paired: bool = paired
            ) -> tuple[bool, bool]:
                tables = [
                    dict(enumerate(rng.normal(2, 0.2, n).tolist(), start=0 if paired else n * k))
                    for k in range(groups)
                ]
                result = best_set(tables).members
                return 0 not in result, len(result) < groups

            where = f"{groups} equal groups of {n} seeds, {'paired' if paired else 'Welch'}"
            rng = np.random.default_rng(0)
            one, some = np.mean([gone(rng) for _ in range(trials)], axis=0)
            name = "best set"
            yield Check(name, f"{where}: a given one left out", 100 * one, SIZE, trials)
            yield Check(name, f"{where}: any left out", 100 * some, NONE, trials)


def sets_by_example(trials: int) -> Iterator[Check]:
    for n, count in ((360, 2), (10_000, 2), (10_000, 1)):
        for with_predictions in (True, False):

            def lost(
                rng: Draws,
                n: int = n,
                count: int = count,
                with_predictions: bool = with_predictions,
            ) -> bool:
                # Five groups of networks that are equally good, of one or two seeds.
                right = networks(rng, n, count, (1.0,) * 5)
                errors = [100 * (1 - cell.mean(axis=1)) for cell in right]
                result = best_set(
                    [by_seed(cell) for cell in errors],
                    n,
                    lambda at, seed: right[at][seed] if with_predictions else None,
                )
                return 0 not in result.members

            where = f"5 equal groups of {plural(count, 'seed')}, {n:,} test examples, "
            where += "McNemar" if with_predictions else "two proportions"
            result = often(trials, lost)
            yield Check("best set", f"{where}: a given one left out", result, SIZE, trials)


def sets_of_trials(trials: int) -> Iterator[Check]:
    for n in (143, 5000):
        rng, excluded = np.random.default_rng(0), []
        for _ in range(trials):
            vectors = list(networks(rng, n, 20, (1.0,))[0])
            errors = [100 * float(1 - vector.mean()) for vector in vectors]
            members = indistinguishable(errors, vectors, n)
            excluded.append((0 not in members, len(members) < 20))
        one, some = np.mean(excluded, axis=0)
        where = f"20 equal trials, {n:,} validation examples"
        name = "indistinguishable trials"
        yield Check(name, f"{where}: a given one left out", 100 * one, SIZE, trials)
        yield Check(name, f"{where}: any left out", 100 * some, NONE, trials)


def middle(trials: int) -> Iterator[Check]:
    for n, datasets, bar in (
        (3, 3, NONE), (3, 10, NONE), (5, 3, NONE), (5, 5, COVERS), (5, 10, COVERS),
        (10, 3, NONE), (10, 5, COVERS), (10, 10, COVERS), (20, 2, COVERS), (20, 3, COVERS),
    ):  # fmt: skip
        for distance in (0.0, 10.0):
            means = np.linspace(0, distance, datasets)
            many = np.random.default_rng(1).normal(means[:, None], 1.0, (datasets, 200_000))
            truth = interquartile_mean_of(many)

            def covers(
                rng: Draws, means: npt.NDArray[np.float64] = means, n: int = n, truth: float = truth
            ) -> bool | None:
                drawn = rng.normal(means[:, None], 1.0, (len(means), n))
                result = interquartile_mean(by_dataset(drawn))
                return inside(truth, result.low, result.high)

            far = "far apart" if distance else "alike"
            where = f"{n} seeds, {datasets} datasets {far}"
            yield Check("interquartile mean", where, often(trials, covers), bar, trials)


def ratios(trials: int) -> Iterator[Check]:
    """Check ratios to a control with as many seeds; the spread of seeds is 5 % of an error."""
    for n, datasets, bar in (
        (3, 3, NONE), (5, 3, NONE), (5, 5, COVERS), (5, 10, COVERS), (10, 5, COVERS),
        (10, 10, COVERS), (20, 2, COVERS), (20, 3, COVERS),
    ):  # fmt: skip
        for top, shared in ((1.0, 0.0), (3.0, 0.0), (1.0, 0.7)):
            ratio = np.linspace(1.0, top, datasets)[:, None]
            many = np.random.default_rng(1).normal(1.0, 0.05, (datasets, 200_000)) * ratio
            truth = interquartile_mean_of(many)

            def covers(
                rng: Draws, n: int = n, ratio: npt.NDArray[np.float64] = ratio,
                truth: float = truth, shared: float = shared,
            ) -> bool | None:  # fmt: skip
                common, *own = rng.normal(size=(3, len(ratio), n))
                control, errors = (
                    1 + 0.05 * (math.sqrt(shared) * common + math.sqrt(1 - shared) * side)
                    for side in own
                )
                result = interquartile_mean(by_dataset(ratio * errors), over=by_dataset(control))
                return inside(truth, result.low, result.high)

            to = f"a control from 1 to {top:g}" if top > 1 else "an equal control"
            where = f"{n} seeds, {datasets} datasets, ratios to {to}"
            where += ", correlated seeds" if shared else ""
            result = often(trials, covers)
            # Correlated seeds make the interval too wide rather than too narrow.
            yield Check("interquartile mean", where, result, NONE if shared else bar, trials)


def by_dataset(values: npt.NDArray[np.float64]) -> dict[str, list[float]]:
    return {str(at): row.tolist() for at, row in enumerate(values)}


def improvement(trials: int) -> Iterator[Check]:
    for n, datasets, bar in (
        (3, 3, NONE), (5, 3, COVERS), (5, 10, COVERS), (10, 1, COVERS), (10, 3, COVERS),
    ):  # fmt: skip
        for shift in (0.0, 1.0):
            truth = float(stats.norm.cdf(shift / math.sqrt(2)))

            def improves(
                rng: Draws, n: int = n, datasets: int = datasets, shift: float = shift,
                truth: float = truth,
            ) -> bool | None:  # fmt: skip
                a, b = rng.normal(size=(2, datasets, n)) + np.array([0.0, shift])[:, None, None]
                result = probability_of_improvement(by_dataset(a), by_dataset(b))
                return inside(truth, result.low, result.high)

            where = f"{n} seeds, {datasets} dataset{'s' * (datasets > 1)}, truth {truth:.2f}"
            name = "probability of improvement"
            yield Check(name, where, often(trials, improves), bar, trials)


def interquartile_mean_of(many: npt.NDArray[np.float64]) -> float:
    return float(stats.trim_mean(many.ravel(), 0.25))


PARTS: dict[str, Callable[[int], Iterator[Check]]] = {
    "seeds": lambda trials: seeds(5 * trials),
    "errors": lambda trials: errors(5 * trials),
    "wilson": lambda trials: wilson(),
    "examples": over_examples,
    "left-out": left_out,
    "equivalence": lambda trials: equivalence(5 * trials),
    "several": several,
    "middle": middle,
    "ratios": ratios,
    "improvement": improvement,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=4000)
    parser.add_argument("--part", choices=PARTS, action="append", help="Default: all.")
    arguments = parser.parse_args()
    print("| method | where | found, % | bar | |\n|---|---|---:|---:|---|")
    met = True
    for part in arguments.part or PARTS:
        for check in PARTS[part](arguments.trials):
            result = "" if check.bar == NONE else "met" if check.met else "MISSED"
            percent = f"{check.percent:.{check.digits}f}"
            line = (check.method, check.where, percent, check.bar, result)
            print(f"| {' | '.join(line)} |", flush=True)
            met &= check.met
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
