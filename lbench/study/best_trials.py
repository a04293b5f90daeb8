"""Which trials of a search cannot be told apart from its best one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lbench.rundir import RunDir
from lbench.statistics.best import indistinguishable
from lbench.statistics.examples import Right, right
from lbench.study.results import Trial


def indistinguishable_trials(
    trials: Sequence[Trial], best: Trial | None
) -> tuple[list[Trial], int | None]:
    """The complete trials that may be as good as the best, and how many examples decided.

    They are told apart from it by the validation examples of their first seed, which all saw
    alike. With several seeds a trial the best is so by its mean, whatever its first seed erred.

    Returns:
        The best alone, and None, where trials kept no predictions.
    """
    if best is None:
        return [], None
    complete = [trial for trial in trials if trial.state == "complete"]
    vectors = [_right(trial) for trial in complete]
    n = next((len(vector) for vector in vectors if vector is not None), None)
    if n is None:
        return [best], None
    errors = [
        # Of the seed whose predictions are compared; the trial's value may be a mean of several.
        100 * float(1 - vector.mean()) if vector is not None else (trial.values or (100.0,))[0]
        for trial, vector in zip(complete, vectors, strict=True)
    ]
    reference = [trial.number for trial in complete].index(best.number)
    found = {complete[at].number: complete[at]
             for at in indistinguishable(errors, vectors, n, reference)}  # fmt: skip
    return list({best.number: best, **found}.values()), n


def _right(trial: Trial) -> Right | None:
    if not trial.runs:
        return None
    folder = RunDir(trial.runs[0].run_dir).path
    try:
        logits = np.load(folder / "val_logits.npy")
        labels = np.load(folder / "val_labels.npy")
    except (OSError, ValueError, EOFError):
        return None
    if logits.ndim != 2 or len(logits) != len(labels):
        return None
    return right(logits, labels)
