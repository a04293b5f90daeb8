"""alignment: where a rule's updates point, beside the gradient of the output loss."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from lbench.auditing.copies import twin
from lbench.probe import Column, Probe
from lbench.probes.gradient import output_gradient
from lbench.randomness import Randomness, address
from lbench.rule import Grads, Rule
from lbench.step import Step
from lbench.task import Batch

LOOKS = 50
BATCH = 128
REPEATS = 8

Vectors = dict[str, Tensor]


class Heard(Randomness):
    """Remembers whether anybody drew."""

    drawn = False

    def generator(
        self, stream: str, index: int = 0, device: torch.device | str = "cpu"
    ) -> torch.Generator:
        """As every run's."""
        self.drawn = True
        return super().generator(stream, index, device)


class Alignment(Probe):
    """Angle, bias and variance of what a rule hands to its optimizers, on one fixed batch.

    About 50 times a run, copies of the rule make a step on the same 128 training examples, 8
    times with other noise, and once where a step draws none. u is the gradient that a
    copy hands over (several of one step are added up), g that of the task's loss of what the
    rule predicts, without dropout. Of a stochastic rule with M repeats of mean m and sample
    variance V = sum |u - m|² / (M - 1), the bias |E u - g|² is estimated by |m - g|² - V/M,
    which is free of bias itself and can be below 0.
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
        "repeats": Column("int", "Steps with other noise; 1 where a step draws none"),
    }
    repeats: ClassVar[int] = REPEATS

    def begin(self) -> None:
        """Draws the batch, and finds which parameters belong to which layer."""
        scene = self.scene
        order = torch.randperm(len(scene.training), generator=self.generator("batch"))
        self.batch = Batch(*scene.training.batch(order[:BATCH].to(scene.training.labels.device)))
        self.every = max(1, scene.steps // LOOKS)
        self.parts = parts(scene.rule)

    def due(self, index: int) -> bool:
        """About 50 times a run."""
        return index % self.every == 0

    def before_step(self, batch: Batch, s: Step) -> None:
        """Compares."""
        first, drawn = self.update(s, 0)
        more = range(1, self.repeats if drawn else 1)
        updates = [first, *(self.update(s, repeat)[0] for repeat in more)]
        gradient = output_gradient(self.scene.rule, self.batch, updates[0])
        parts = {
            layer: (k, [name for name in of if name in gradient])
            for layer, (k, of) in self.parts.items()
        }
        parts["all"] = (None, list(gradient))
        for layer, (k, of) in parts.items():
            if of:
                g = vector(gradient, of)
                u = torch.stack([vector(each, of) for each in updates])
                self.record(layer=layer, block=k, **compared(u, g), repeats=len(updates))

    def update(self, s: Step, repeat: int) -> tuple[Vectors, bool]:
        """What a copy of the rule hands over in this step with the repeat's own noise, if any."""
        rule = twin(self.scene.rule)
        handed: Vectors = {}

        def take(grads: Grads) -> None:
            for name, grad in grads.items():
                own = grad.detach().double()
                handed[name] = handed[name] + own if name in handed else own.clone()

        rule.attach({group.name: take for group in rule.groups()})
        seed = address(self.scene.randomness.seed, f"probe/{self.name}/noise", s.index, repeat)
        randomness = Heard(seed)
        own = Step(randomness, s.index, s.epoch, phase=s.phase, last=s.last, device=s.device)
        batch = Batch(self.batch.x.clone(), self.batch.target.clone())
        with torch.enable_grad():
            rule.step(rule.prepare(batch, own), own)
        return handed, randomness.drawn


def parts(rule: Rule) -> dict[str, tuple[int | None, list[str]]]:
    """Block and names of trained parameters of each layer and of the readout."""
    names = {id(p): name for group in rule.groups() for name, p in group.params.items()}
    found: dict[str, tuple[int | None, list[str]]] = {}
    for k, block in enumerate(rule.network.blocks):
        for layer in block.layers:
            found[layer.name] = (k, [names[id(p)] for p in layer.parameters() if id(p) in names])
    readout = rule.network.readout.parameters()
    found["readout"] = (None, [names[id(p)] for p in readout if id(p) in names])
    return found


def compared(u: Tensor, g: Tensor) -> dict[str, float | None]:
    """The columns, of updates (repeats, parameters) and a gradient (parameters,)."""
    repeats, mean = len(u), u.mean(0)
    spread = float((u - mean).square().sum()) / max(1, repeats - 1)
    length = float(g.square().sum())
    bias = float((mean - g).square().sum()) - spread / repeats
    cosines = [cosine(each, g) for each in u]
    known = [each for each in cosines if each is not None]
    return {
        "cosine": sum(known) / len(known) if known else None,
        "mean_cosine": cosine(mean, g),
        "update_norm": float(mean.norm()),
        "gradient_norm": length**0.5,
        "bias": bias / length if length else None,
        "variance": spread / length if length else None,
    }


def cosine(a: Tensor, b: Tensor) -> float | None:
    """None where one of the two is zero."""
    size = float(a.norm() * b.norm())
    return float(a @ b) / size if size else None


def vector(values: Vectors, names: list[str]) -> Tensor:
    """Their entries in one row, float64."""
    return torch.cat([values[name].flatten() for name in names])
