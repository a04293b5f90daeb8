"""linear: the error of a linear classifier that reads each block."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.probe import Column, Probe, chunks, hidden
from lbench_probes.probes.ridge import Ridge

FIT = 10_000
"""Largest number of training examples that classifiers are fitted to; drawn once per run."""
PENALTY = 1e-3
FEATURES = 1024
"""Largest number of features; maps with more are pooled, as far as their channels allow."""


class Linear(Probe):
    """Error of a linear classifier of each block's output, at the end of every epoch.

    The classifier is a ridge regression of one-hot labels, instead of the softmax regression of
    Alain & Bengio 2016 (arXiv:1610.01644): its closed form has no learning rate and no stopping
    rule that could suit one rule better than another.
    """

    columns: ClassVar = {
        "block": Column("int", "Index of the block, from 0; -1 is the network's input"),
        "features": Column("int", "Numbers that the classifier reads per example"),
        "fit_error": Column("float", "Error on the training examples it was fitted to, percent"),
        "error": Column("float", "Error on held-out examples, percent"),
    }

    def begin(self) -> None:
        """Draw the examples that the classifiers are fitted to."""
        order = torch.randperm(len(self.scene.training), generator=self.generator("fit"))
        self.idx = order[:FIT]

    def epoch_end(self, epoch: int, step: int) -> None:
        """Fit and test one classifier for the input and one for each block."""
        scene = self.scene
        sums: dict[int, Ridge] = {}
        for x, target in chunks(scene.training, self.idx):
            for k, rows in self.features(x).items():
                if k not in sums:
                    sums[k] = Ridge(rows.shape[1], scene.rule.task.classes, rows.device)
                sums[k].add(rows, target)
        fitted = {k: ridge.solve(PENALTY) for k, ridge in sums.items()}
        fit = self.errors(fitted, chunks(scene.training, self.idx))
        heldout = self.errors(fitted, chunks(scene.heldout))
        for k, (weight, _) in fitted.items():
            self.record(block=k, features=len(weight), fit_error=fit[k], error=heldout[k])

    def errors(
        self, fitted: dict[int, tuple[Tensor, Tensor]], batches: Iterable[tuple[Tensor, Tensor]]
    ) -> dict[int, float]:
        """Return the error of each block's classifier, in percent.

        Args:
            fitted: weights (features, classes) and biases (classes,) by block.
            batches: images and labels.
        """
        wrong, count = dict.fromkeys(fitted, 0), 0
        for x, target in batches:
            count += len(target)
            for k, rows in self.features(x).items():
                weight, bias = fitted[k]
                wrong[k] += int(((rows @ weight + bias).argmax(1) != target).sum())
        return {k: 100 * number / count for k, number in wrong.items()}

    def features(self, x: Tensor) -> dict[int, Tensor]:
        """Return the features (batch, features) of each block in float64; -1 is the input."""
        rule = self.scene.rule
        features = {-1: flat(x)}
        for k, (_, h) in hidden(rule, x).items():
            features[k] = flat(rule.network.blocks[k].emit(h))
        return features


def flat(x: Tensor) -> Tensor:
    """Return (batch, features) in float64; maps with too many features are pooled first."""
    if x.dim() == 4 and x[0].numel() > FEATURES:
        side = max(1, int((FEATURES / x.shape[1]) ** 0.5))
        if side < max(x.shape[2:]):
            x = F.adaptive_avg_pool2d(x, side)
    return x.flatten(1).double()
