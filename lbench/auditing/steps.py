"""``lbench.audit``: the audit of any PyTorch training step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lbench.auditing.error_location import describe_error
from lbench.auditing.measure import ROWS, measure
from lbench.auditing.report import Report
from lbench.auditing.step_subject import Predict, StepFunction, StepSubject, Units
from lbench.claims import Claims
from lbench.errors import LbenchError, UsageError


def audit(
    step: StepFunction,
    model: nn.Module,
    batch: tuple[Tensor, Tensor],
    *,
    units: Units | None = None,
    predict: Predict | None = None,
    claims: Claims | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Report:
    """Measure any training step, which need not use lbench.

    Everything runs on copies in float64: of the model, the step, the optimizers and everything
    else that the step refers to. The audit finds mistakes; it is no defence against deception.

    Args:
        step: ``step(model, batch)`` makes one training step on the model that it receives.
        model: the model that it trains.
        batch: (inputs, labels) with at least 14 rows; small images or feature vectors.
        units: what is trained together, from input to output, as names with modules of the
            model; by default its children with parameters, and those in its lists of modules.
        predict: ``predict(model, inputs)`` returns logits; by default the model is called.
        claims: claims to compare the measurements with.
        progress: called with the name of each measurement before it is made, such as ``print``.

    Returns:
        The report; ``report.measured`` has the values, ``report.evidence`` what was observed.

    Raises:
        UsageError: the batch has too few rows, two copies of the step behave differently, or the
            step trains nothing or another model than the one that it receives.

    Example:
        >>> model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 3))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> def step(model, batch):
        ...     x, y = batch
        ...     optimizer.zero_grad()
        ...     nn.functional.cross_entropy(model(x), y).backward()
        ...     optimizer.step()
        >>> batch = torch.randn(14, 20), torch.arange(14) % 3
        >>> audit(step, model, batch).measured["backward_depth"]
        'full'
    """
    x, target = batch
    if len(x) < ROWS:
        raise UsageError(f"The audit needs a batch of at least {ROWS} rows, but got {len(x)}.")
    x = x.detach()
    if x.is_floating_point() or x.is_complex():
        x = x.to(torch.complex128 if x.is_complex() else torch.float64)
    subject = StepSubject(step, model, x, target, units, predict)
    words = f"{type(model).__name__}, inputs {'x'.join(map(str, x.shape[1:]))}"
    try:
        subject.check()
        return measure(subject, words, claims, progress)
    except LbenchError:
        raise
    except Exception as error:
        raise UsageError(
            f"Step {subject.name} cannot be audited: {describe_error(error)}",
            "It is run on copies, in float64, on batches of 2 to 14 rows: it must accept any "
            "number of rows and float64 inputs, and copy.deepcopy must be able to copy everything "
            "that it refers to.",
        ) from error
