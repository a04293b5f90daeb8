"""alignment: compares a rule's updates with the gradient of the output loss."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from lbench.auditing.copies import twin
from lbench.probe import Column, Probe
from lbench.randomness import Randomness, address
from lbench.rule import Grads, Rule
from lbench.step import Step
from lbench.task import Batch
from lbench_probes.probes.gradient import output_gradient

LOOKS = 50
"""Measurements per run, roughly."""
BATCH = 128
"""Examples of the batch, at most."""
REPEATS = 8

Vectors = dict[str, Tensor]


class RecordedRandomness(Randomness):
    """Records whether a generator was asked for."""

    drawn = False

    def generator(
        self, stream: str, index: int = 0, device: torch.device | str = "cpu"
    ) -> torch.Generator:
        """Return the generator of a run with this seed, and record the call."""
        self.drawn = True
        return super().generator(stream, index, device)


class Alignment(Probe):
    """Angle, bias and variance of the gradients that a rule hands to its optimizers.

    About 50 times per run, copies of the rule make a step on the same 128 training examples: 8
    copies with different noise, or one if a step draws none. u is the gradient that a copy hands
    over (the sum, if it hands over several in a step), g the gradient of the task's loss of the
    rule's predictions, without dropout. For a stochastic rule with M repeats, their mean m and
    sample variance V = sum |u - m|² / (M - 1), the bias |E u - g|² is estimated by |m - g|² - V/M.
    This estimate is unbiased and can be below 0.
    """

    columns: ClassVar = {
        "layer": Column(
            "str", "The layer, readout, or all: each parameter that prediction reaches"
        ),
        "block": Column("int", "Index of the layer's block, from 0; None for readout and all"),
        "cosine": Column("float", "Cosine between update and gradient, mean over repeats"),
        "mean_cosine": Column("float", "Cosine between the repeats' mean update and the gradient"),
        "update_norm": Column("float", "Norm of the repeats' mean update"),
        "gradient_norm": Column("float", "Norm of the gradient"),
        "bias": Column("float", "Squared bias of the update, in squared norms of the gradient"),
        "variance": Column("float", "Variance of the update, in squared norms of the gradient"),
        "repeats": Column("int", "Steps with different noise; 1 where a step draws none"),
    }
    repeats: ClassVar[int] = REPEATS

    def begin(self) -> None:
        """Draw the batch, and list the parameters of each layer."""
        scene = self.scene
        order = torch.randperm(len(scene.training), generator=self.generator("batch"))
        self.batch = Batch(*scene.training.batch(order[:BATCH].to(scene.training.labels.device)))
        self.every = max(1, scene.steps // LOOKS)
        self.parts = parts(scene.rule)

    def due(self, index: int) -> bool:
        """Return True about 50 times per run."""
        return index % self.every == 0

    def before_step(self, batch: Batch, s: Step) -> None:
        """Compare the copies' updates with the gradient."""
        first, drawn = self.update(s, 0)
        repeats = range(1, self.repeats if drawn else 1)
        updates = [first, *(self.update(s, repeat)[0] for repeat in repeats)]
        gradient = output_gradient(self.scene.rule, self.batch, updates[0])
        parts = {
            layer: (k, [name for name in names if name in gradient])
            for layer, (k, names) in self.parts.items()
        }
        parts["all"] = (None, list(gradient))
        for layer, (k, names) in parts.items():
            if names:
                g = vector(gradient, names)
                u = torch.stack([vector(update, names) for update in updates])
                self.record(layer=layer, block=k, **compared(u, g), repeats=len(updates))

    def update(self, s: Step, repeat: int) -> tuple[Vectors, bool]:
        """Return the gradients that a copy of the rule hands over, and whether the step drew noise.

        Args:
            s: the step of the run; the copy's step has the same index.
            repeat: number of the repeat, which determines the noise.
        """
        rule = twin(self.scene.rule)
        handed: Vectors = {}

        def take(grads: Grads) -> None:
            for name, grad in grads.items():
                own = grad.detach().double()
                handed[name] = handed[name] + own if name in handed else own.clone()

        rule.attach({group.name: take for group in rule.groups()})
        seed = address(self.scene.randomness.seed, f"probe/{self.name}/noise", s.index, repeat)
        randomness = RecordedRandomness(seed)
        own = Step(randomness, s.index, s.epoch, phase=s.phase, last=s.last, device=s.device)
        batch = Batch(self.batch.x.clone(), self.batch.target.clone())
        with torch.enable_grad():
            rule.step(rule.prepare(batch, own), own)
        return handed, randomness.drawn


def parts(rule: Rule) -> dict[str, tuple[int | None, list[str]]]:
    """Return, by layer and for the readout, the block and the names of trained parameters."""
    names = {id(p): name for group in rule.groups() for name, p in group.params.items()}
    layers: dict[str, tuple[int | None, list[str]]] = {}
    for k, block in enumerate(rule.network.blocks):
        for layer in block.layers:
            layers[layer.name] = (k, [names[id(p)] for p in layer.parameters() if id(p) in names])
    readout = rule.network.readout.parameters()
    layers["readout"] = (None, [names[id(p)] for p in readout if id(p) in names])
    return layers


def compared(u: Tensor, g: Tensor) -> dict[str, float | None]:
    """Return the columns for updates (repeats, parameters) and a gradient (parameters,)."""
    repeats, mean = len(u), u.mean(0)
    spread = float((u - mean).square().sum()) / max(1, repeats - 1)
    length = float(g.square().sum())
    bias = float((mean - g).square().sum()) - spread / repeats
    cosines = [cosine(update, g) for update in u]
    known = [value for value in cosines if value is not None]
    return {
        "cosine": sum(known) / len(known) if known else None,
        "mean_cosine": cosine(mean, g),
        "update_norm": float(mean.norm()),
        "gradient_norm": length**0.5,
        "bias": bias / length if length else None,
        "variance": spread / length if length else None,
    }


def cosine(a: Tensor, b: Tensor) -> float | None:
    """Return the cosine between two vectors; None where one of them is zero."""
    size = float(a.norm() * b.norm())
    return float(a @ b) / size if size else None


def vector(values: Vectors, names: list[str]) -> Tensor:
    """Return the named values as one vector, float64."""
    return torch.cat([values[name].flatten() for name in names])
