"""sign_angle: the angle between a block's feedback and the weights of its classifier.

The module has the probe, which records the angle in a run, and the figure and the analysis, which
show it in the report of a study.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch.nn import functional as F

from lbench import Column, Probe, UsageError
from lbench.reporting import (
    LINES,
    UNDECIDED,
    Answer,
    Configuration,
    Figure,
    StudyData,
    clipped,
    configurations,
    interval,
    joined,
    legend,
    look,
    panels,
    spread,
)
from lbench_rule_sign_pred.sign_pred import SignPred


class SignAngle(Probe):
    """The angle between a block's feedback and the weights that it replaces, after each epoch.

    Both are vectors of classes · width numbers. The angle of random feedback is about 90°.
    """

    columns: ClassVar = {
        "block": Column("int", "Index of the block, from 0"),
        "angle": Column("float", "Angle between the feedback and the weights, degrees"),
    }

    def begin(self) -> None:
        if not isinstance(self.scene.rule, SignPred):
            raise UsageError("The probe sign_angle needs the rule sign_pred.")

    def epoch_end(self, epoch: int, step: int) -> None:
        rule = self.scene.rule
        for k, classifier in enumerate(rule.heads):
            weight, feedback = classifier.weight.detach().double(), rule.feedback(k).double()
            cosine = F.cosine_similarity(weight.flatten(), feedback.flatten(), dim=0)
            self.record(block=k, angle=float(torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))))


def figures(results: StudyData, argument: str) -> list[Figure]:
    """Draw the mean angle over seeds by epoch, with one line per configuration and block."""
    recorded = configurations(results, "sign_angle")
    if not recorded:
        return []
    picture, (axes,) = panels(1)
    data: list[dict[str, Any]] = []
    for cell in recorded:
        for block, curve in curves(cell).items():
            series = f"{cell.title}, block {block + 1}"
            index = len({row["series"] for row in data})
            data += [{"series": series, "epoch": e, "angle": a} for e, a in curve.items()]
            if index < LINES:
                axes.plot(list(curve), list(curve.values()), label=clipped(series), **look(index))
    axes.set_xlabel("epoch")
    axes.set_ylabel("angle to the weights (°)")
    legend(picture, [axes])
    caption = f"Mean over seeds; at most {LINES} lines are drawn, the data have all."
    title = "Angle between feedback and weights"
    return [Figure("sign_angle", title, caption, picture, data)]


def analysis(results: StudyData) -> Answer:
    """State the final angle of each configuration's last block, with its interval."""
    recorded = configurations(results, "sign_angle")
    if not recorded:
        return Answer(f"{UNDECIDED}: no run has recorded the angle of its feedback.")
    last = {cell.id: at_end(cell) for cell in recorded}
    angles = [f"{cell.title} {spread(interval(last[cell.id]), 1)}°" for cell in recorded]
    sentence = f"The angle between feedback and weights of the last block is {joined(angles)}."
    details = [
        f"{cell.title} on {cell.setup}: test error {cell.test_error_text}." for cell in recorded
    ]
    return Answer(sentence, details, {"angles": last})


def curves(cell: Configuration) -> dict[int, dict[int, float]]:
    """Return the mean angle over seeds by block and epoch."""
    values: dict[int, dict[int, list[float]]] = {}
    for columns in cell.tables.values():
        rows = zip(columns["block"], columns["epoch"], columns["angle"], strict=True)
        for block, epoch, angle in rows:
            values.setdefault(block, {}).setdefault(epoch, []).append(angle)
    return {
        block: {epoch: interval(angles).mean for epoch, angles in by_epoch.items()}
        for block, by_epoch in values.items()
    }


def at_end(cell: Configuration) -> list[float]:
    """Return the angle of the last block after the last epoch, in degrees, for each seed."""
    return [columns["angle"][-1] for columns in cell.tables.values()]
