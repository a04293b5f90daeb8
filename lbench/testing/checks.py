"""The list of checks, each a plain function that raises, and their outcomes for a rule."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from lbench.errors import did_you_mean, nearest
from lbench.testing import (
    acting,
    architecture,
    gradients,
    learning,
    one_device,
    options,
    practice,
    prediction,
)
from lbench.testing.subject import FailedError, SkippedError, Subject
from lbench.training.plugin_errors import plugin_line
from lbench.training.plugin_errors import reason as reason_of

Status = Literal["passed", "failed", "expected", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """A claim about every rule, or about every dataset, network or probe.

    Args:
        run: a function that raises if the claim does not hold; it may return a short result.
    """

    run: Callable[[Any], str | None]

    @property
    def name(self) -> str:
        """Return the function's name."""
        return self.run.__name__

    @property
    def claim(self) -> str:
        """Return the function's docstring."""
        return inspect.cleandoc(self.run.__doc__ or "")


@dataclass(slots=True)
class Outcome:
    """The result of a check.

    Args:
        check: the name of the check.
        status: ``expected`` is a failure that the rule has announced.
        detail: the reason if the check failed or was skipped; else its short result.
        seconds: the time that the check took.
        error: the exception that it raised.
    """

    check: str
    status: Status
    detail: str
    seconds: float = 0.0
    error: BaseException | None = field(default=None, repr=False)


def expected_failures_explained(subject: Subject) -> None:
    """Check that every expected failure of the rule names a check of the kit and has a reason."""
    for name, reason in subject.cls.expected_failures.items():
        if name not in NAMES:
            problem = f"there is no check {name!r} that could be expected to fail. "
            raise FailedError((problem + did_you_mean(nearest(name, NAMES))).rstrip(". "))
        if name == expected_failures_explained.__name__:
            raise FailedError("this check cannot be expected to fail")
        if not reason.strip():
            raise FailedError(f"the expected failure of {name} has no reason")


CHECKS = tuple(
    Check(run)
    for run in (
        expected_failures_explained,
        options.builds_from_defaults,
        options.options_round_trip,
        options.unknown_options_refused,
        acting.every_option_acts,
        acting.equal_options_are_the_same_rule,
        architecture.networks_train,
        architecture.block_counts,
        architecture.grey_and_colour,
        architecture.batch_norm_once_per_step,
        learning.small_batches,
        learning.every_parameter_moves,
        learning.nan_reported,
        learning.same_seed_same_weights,
        learning.global_randomness_unused,
        one_device.stays_on_its_device,
        prediction.predict_changes_nothing,
        prediction.labels_unused_at_prediction,
        prediction.state_restores_predictions,
        gradients.parameters_accounted,
        gradients.cotangent_is_the_gradient_of_loss,
        gradients.claims_equal_measurements,
        practice.learns,
        practice.resumes_in_a_new_process,
    )
)
"""The checks in the order of tables, the cheap ones first."""

NAMES = tuple(check.name for check in CHECKS)


def conform(subject: Subject) -> Iterator[Outcome]:
    """Yield the outcome of each check of a rule, one after the other."""
    for check in CHECKS:
        yield examine(check, subject)


def examine(check: Check, subject: Subject) -> Outcome:
    """Run one check of a rule, with regard to the failures that the rule has announced."""
    outcome = outcome_of(check, subject)
    if check.run is expected_failures_explained:
        return outcome
    reason = subject.cls.expected_failures.get(check.name, "").strip()
    if not reason:
        return outcome
    if outcome.status == "passed" and subject.quick:
        # The full form takes more networks, and the failure may be on one of them.
        outcome = outcome_of(check, subject.full())
    if outcome.status == "failed":
        outcome.status = "expected"
        outcome.detail = f"{reason} ({outcome.detail})"
    elif outcome.status == "passed":
        outcome.status = "failed"
        outcome.detail = f"passes, but is expected to fail: {reason}"
    return outcome


def outcome_of(check: Check, subject: Any) -> Outcome:
    """Run one check; an exception other than an interrupt is a failure."""
    began = time.perf_counter()
    status: Status = "passed"
    error: BaseException | None = None
    try:
        detail = check.run(subject) or ""
    except SkippedError as skipped:
        status, detail = "skipped", str(skipped)
    except FailedError as failed:
        status, detail, error = "failed", str(failed), failed
    except KeyboardInterrupt:
        raise
    except BaseException as raised:
        status, detail, error = "failed", _described(raised, subject.cls), raised
    return Outcome(check.name, status, detail, time.perf_counter() - began, error)


def _described(error: BaseException, rule: type) -> str:
    """Return the kind of an error, its first line, its notes, and where the rule raised it."""
    where = plugin_line(error, rule)
    text = reason_of(error, rule).removesuffix(f" ({where})")
    text += "".join(f", {note}" for note in getattr(error, "__notes__", []))
    return text if where is None else f"{text} ({where})"
