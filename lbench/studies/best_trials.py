"""The trials of a search whose errors do not differ significantly from that of the best."""

from __future__ import annotations

from collections.abc import Sequence

from lbench.statistics.best import indistinguishable
from lbench.statistics.examples import Right
from lbench.store.predictions import MissingError, checked, read_array
from lbench.studies.results import Trial


def indistinguishable_trials(
    trials: Sequence[Trial], best: Trial | None
) -> tuple[list[Trial], int | None]:
    """Return the complete trials that may be as good as the best, and the number of examples.

    The predictions of each trial's first seed are compared on the validation examples, which are
    the same for all trials. With several seeds per trial the best is the one of the lowest mean,
    whatever the error of its first seed is.

    Args:
        trials: trials of a search.
        best: the best trial; None without a complete trial.

    Returns:
        The trials, the best first, and the number of validation examples. The best alone and None
        if no trial has stored predictions.
    """
    if best is None:
        return [], None
    complete = [trial for trial in trials if trial.state == "complete"]
    vectors = [_right(trial) for trial in complete]
    n = next((len(vector) for vector in vectors if vector is not None), None)
    if n is None:
        return [best], None
    errors = [
        # The error of the first seed; the value of the trial may be a mean over several.
        100 * float(1 - vector.mean()) if vector is not None else (trial.values or (100.0,))[0]
        for trial, vector in zip(complete, vectors, strict=True)
    ]
    reference = [trial.number for trial in complete].index(best.number)
    similar = [complete[i] for i in indistinguishable(errors, vectors, n, reference)]
    return [best, *(trial for trial in similar if trial.number != best.number)], n


def _right(trial: Trial) -> Right | None:
    if not trial.runs:
        return None
    folder = trial.runs[0].run_dir
    try:
        logits, labels = (read_array(folder / f"val_{name}.npy") for name in ("logits", "labels"))
        return checked(logits, labels, folder)
    except MissingError:
        return None
