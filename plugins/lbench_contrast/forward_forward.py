"""forward_forward: high goodness for images with their own label, low with a wrong label."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench.claims import Claims
from lbench.config import RuleConfig, param
from lbench.errors import UsageError
from lbench.init import Init
from lbench.network import Network
from lbench.rule import LocalRule, View
from lbench.step import Step
from lbench.task import Batch


class ForwardForward(LocalRule):
    """Each block separates right labels from wrong ones by the squares of its activities.

    A label is written into the image (:func:`overlaid`). The input of a block is divided by its
    root mean square, which removes the goodness of the previous block. With g the sum of the
    squares of h, a block minimises softplus(θ − g) for images with their own label and
    softplus(g − θ) for images with a wrong one (Hinton 2022, arXiv:2212.13345, Sections 2 and 3).

    Both kinds pass through a block as one batch, with own labels in the first half. BatchNorm
    needs that: it fixes the mean square over its batch, so in separate batches the two halves
    could not differ. There is no readout.
    """

    class Config(RuleConfig):
        """Options of forward_forward."""

        goodness: Literal["sum", "mean"] = param(
            "sum", help="Sum or mean of the squares of an example's activities in a block"
        )
        theta: float | None = param(
            None,
            low=0.0,
            help="Threshold per unit; none: 1 for a sum, 2 for a mean, 0.5 behind a normalisation",
        )

    config: ForwardForward.Config

    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        depth = network.block_depth - 1
        return Claims(
            transport="full" if depth else "none",
            backward_depth=depth,
            update_locked=False,
            global_error="none",
            couples=network.couples,
        )

    def build(self, init: Init) -> None:
        _, height, width = self.task.shape
        if height * width < self.task.classes:
            raise UsageError(
                f"Rule forward_forward writes a label into one pixel per class, but images of "
                f"{height}x{width} = {height * width} pixels are too small for "
                f"{self.task.classes} classes.",
                "Choose a dataset with larger images or fewer classes.",
            )
        self.network.readout = nn.Identity()  # type: ignore[assignment]
        given = self.config.theta
        usual = 1.0 if self.config.goodness == "sum" else 2.0
        # Normalised z have a mean square of 1, of which ReLU keeps half: θ = 1 cannot be reached
        # if the normalisation learns no scale, and is far from the initial goodness if it does.
        defaults = [0.5 if block.layers[-1].norm else usual for block in self.network.blocks]
        self.thetas = [default if given is None else given for default in defaults]

    def prepare(self, batch: Batch, s: Step) -> Batch:
        """Return the images with their own labels, then the same images with wrong labels.

        Wrong labels are uniform over the other classes. The target of the returned batch is the
        label that each image shows.
        """
        classes = self.task.classes
        shift = s.noise("wrong", batch.target.shape, "uniform").mul(classes - 1).long() + 1
        shown = torch.cat([batch.target, (batch.target + shift) % classes])
        return Batch(overlaid(torch.cat([batch.x, batch.x]), shown, classes), shown)

    def train_block(self, k: int, x: Tensor, batch: Batch, s: Step) -> Tensor:
        return super().train_block(k, normalized(x), batch, s)

    def loss(self, v: View, s: Step) -> Tensor:
        own, wrong = self.margin(v.k, v.h).tensor_split(2)
        loss = F.softplus(-own).mean() + F.softplus(wrong).mean()
        s.log("loss", s.logs.get("loss", 0) + loss.detach() / len(self.network.blocks))
        return loss

    def train_readout(self, x: Tensor, target: Tensor, s: Step) -> None:
        """Do nothing, since there is no readout."""

    def predict(self, x: Tensor) -> Tensor:
        """Return the goodness for each label, summed over blocks, (batch, classes).

        Each label is written into the images in turn. The first block, which sees the label's
        pixels, counts only if it is the only one. The scores are relative to the highest, which
        changes neither their order nor their cross-entropy, and keeps small differences of large
        sums distinct in low precision.
        """
        logits = []
        for label in range(self.task.classes):
            labels = torch.full((len(x),), label, device=x.device)
            h, margins = overlaid(x, labels, self.task.classes), []
            for k, block in enumerate(self.network.blocks):
                h = self.activate(k, block.preactivation(normalized(h)))
                margins.append(self.margin(k, h))
                h = block.emit(h)
            logits.append(torch.stack(margins[1:] or margins).sum(0))
        together = torch.stack(logits, 1)
        return together - together.amax(1, keepdim=True)

    def margin(self, k: int, h: Tensor) -> Tensor:
        """Return goodness minus θ in block ``k``, (batch, …) to (batch,): logit of an own label."""
        h = h.flatten(1)
        margin = mean_square(h) - self.thetas[k]
        return margin if self.config.goodness == "mean" else margin * h.shape[1]


def overlaid(x: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return copies of images (batch, channels, height, width) that show labels (batch,).

    The first ``classes`` pixels of the first channel, row by row, become a one-hot code with the
    highest and the lowest value of that channel in that image. On MNIST these are the paper's 1
    and 0; in standardised images the label is on the scale of the pixels. An image whose first
    channel is constant cannot show a label.
    """
    pixels = x.flatten(2).clone()
    low, high = pixels[:, 0].aminmax(dim=1, keepdim=True)
    pixels[:, 0, :classes] = torch.where(F.one_hot(labels, classes).bool(), high, low)
    return pixels.view_as(x)


def normalized(x: Tensor) -> Tensor:
    """Divide each example (batch, …) by the root mean square of all its values; 0 stays 0."""
    rms = mean_square(x.flatten(1)).sqrt().clamp_min(1e-8)
    return x / rms.view(-1, *[1] * (x.dim() - 1))


def mean_square(x: Tensor) -> Tensor:
    """Return the mean square over features, (batch, features) to (batch,), at least in float32."""
    return x.square().mean(1, dtype=torch.promote_types(x.dtype, torch.float32))
