"""Rules that are right, rules with one thing wrong each, and the checks that fail on these."""

from __future__ import annotations

import fractions
from collections.abc import Mapping
from typing import Any, ClassVar

import pydantic
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lbench.claims import Claims
from lbench.config import RuleConfig, param
from lbench.errors import UsageError
from lbench.init import Init
from lbench.network import Network, spatial_mean
from lbench.rule import GradientRule, Grads, Group, LocalRule, Rule, View, trained
from lbench.step import Step
from lbench.task import Batch, Task


class Heads(LocalRule):
    """A right rule: each block learns through a linear head of its own."""

    heads: nn.ModuleList

    def build(self, init: Init) -> None:
        self.heads = nn.ModuleList(
            init.linear(f"head{k}", block.width, self.task.classes)
            for k, block in enumerate(self.network.blocks)
        )

    def loss(self, v: View, s: Step) -> Tensor:
        return self.task.loss(self.heads[v.k](spatial_mean(v.h)), v.target)


class ClosedForm(LocalRule):
    """A right rule with a gradient in closed form: a block's first units are its class logits."""

    factor = 1.0

    def loss(self, v: View, s: Step) -> Tensor:
        return self.task.loss(self._logits(v.z), v.target)

    def cotangent(self, v: View, s: Step) -> Tensor:
        classes, positions = self.task.classes, v.z[0, 0].numel()
        error = self._logits(v.z).softmax(1) - F.one_hot(v.target, classes)
        cotangent = torch.zeros_like(v.z)
        spread = error.view(*error.shape, *(1,) * (v.z.dim() - 2)) / (len(error) * positions)
        cotangent[:, :classes] = self.factor * spread
        return cotangent

    def _logits(self, z: Tensor) -> Tensor:
        return z[:, : self.task.classes].flatten(2).mean(2) if z.dim() > 2 else (
            z[:, : self.task.classes]
        )  # fmt: skip


class Plain(GradientRule):
    """A right rule: backpropagation."""

    def loss(self, batch: Batch, s: Step) -> Tensor:
        return self.task.loss(self.network(batch.x, s), batch.target)


class Noisy(Plain):
    """A right rule: the gradient with noise that the step draws."""

    def gradients(self, batch: Batch, s: Step) -> Grads:
        grads = super().gradients(batch, s)
        return {name: g + 1e-3 * self.noise(name, g, s) for name, g in grads.items()}

    def noise(self, name: str, g: Tensor, s: Step) -> Tensor:
        return s.noise(name, g.shape).to(g.dtype)


class WaitsForValues(Plain):
    """A rule that looks at its loss in every step."""

    def after_step(self, s: Step) -> None:
        self.seen = s.logs["loss"].item()


class RequiredOption(Plain):
    class Config(RuleConfig):
        scale: float


class LossyOption(Plain):
    class Config(RuleConfig):
        scale: float = param(0.25)

        @pydantic.field_serializer("scale")
        def _shorten(self, value: float) -> float:
            return round(value, 1)


class LossyChoice(Plain):
    """A rule whose option is lost in JSON where it is not the default."""

    class Config(RuleConfig):
        fast: bool = param(False)

        @pydantic.field_serializer("fast")
        def _forget(self, value: bool) -> bool:
            return False


class LooseOptions(Plain):
    class Config(RuleConfig):
        model_config = pydantic.ConfigDict(extra="ignore")
        scale: float = param(1.0)


class DeadOption(Plain):
    """A rule with an option that its step does not read."""

    class Config(RuleConfig):
        strength: float = param(0.5, low=0.0, high=1.0, help="Strength")


class NeedsAnother(Plain):
    """A rule with an option that acts only with another one, which its help does not say."""

    class Config(RuleConfig):
        noise: bool = param(False, help="Add noise to the gradients")
        spread: float = param(0.1, low=0.0, high=1.0, help="Standard deviation of it")

    config: Config

    def gradients(self, batch: Batch, s: Step) -> Grads:
        grads = super().gradients(batch, s)
        if not self.config.noise:
            return grads
        spread = self.config.spread
        return {name: g + spread * s.noise(name, g.shape).to(g) for name, g in grads.items()}


class CallsEqual(Plain):
    """A rule that calls all values of its option equal, although they are not."""

    class Config(RuleConfig):
        factor: float = param(1.0, low=0.5, high=2.0, help="Factor on the loss")

    config: Config

    @classmethod
    def effective(cls, config: RuleConfig, network: Network, task: Task) -> Mapping[str, Any]:
        return {}

    def loss(self, batch: Batch, s: Step) -> Tensor:
        return super().loss(batch, s) * self.config.factor


class NumbersOfOneBlock(Plain):
    """A rule with one number for all blocks."""

    @classmethod
    def per_block(cls, config: RuleConfig, network: Network, task: Task) -> dict[str, list[int]]:
        return {"workers": [5]}


class CrashesOnMixer(Plain):
    def build(self, init: Init) -> None:
        if any(layer.name == "token2" for layer in self.network.layers):
            raise ValueError("tokens")


class RefusesWithoutHint(Plain):
    def build(self, init: Init) -> None:
        if any(layer.name == "token2" for layer in self.network.layers):
            raise UsageError("Tokens do not fit.")


class RefusesAll(Plain):
    def build(self, init: Init) -> None:
        raise UsageError("Nothing fits.", "Give up.")


class SmallHeads(Heads):
    """A rule with at most five heads, for any number of blocks."""

    def build(self, init: Init) -> None:
        super().build(init)
        self.heads = self.heads[:5]


class GreyOnly(Plain):
    def prepare(self, batch: Batch, s: Step) -> Batch:
        return Batch(batch.x.view(len(batch.x), 1, *batch.x.shape[2:]), batch.target)


class TwoForwards(Plain):
    """A rule whose second pass in training mode updates BatchNorm's statistics again."""

    def loss(self, batch: Batch, s: Step) -> Tensor:
        with torch.no_grad():
            self.network(batch.x, s)
        return super().loss(batch, s)


class StillStatistics(Plain):
    """A rule that trains in evaluation mode, so that BatchNorm's statistics do not change."""

    def loss(self, batch: Batch, s: Step) -> Tensor:
        self.network.eval()
        loss = super().loss(batch, s)
        self.network.train()
        return loss


class DividesByDeviation(Plain):
    """A rule that divides by a standard deviation, which one example does not have."""

    def loss(self, batch: Batch, s: Step) -> Tensor:
        means = batch.x.flatten(1).mean(1)
        return super().loss(batch, s) / (means - means.mean()).square().sum() * (len(means) - 1)


class IdleParameter(Plain):
    def build(self, init: Init) -> None:
        self.idle = nn.Parameter(init.normal("idle", (3,), 1.0))


class HidesNan(Plain):
    def prepare(self, batch: Batch, s: Step) -> Batch:
        return Batch(batch.x.nan_to_num(), batch.target)


class Unrepeatable(Noisy):
    def noise(self, name: str, g: Tensor, s: Step) -> Tensor:
        generator = torch.Generator()
        generator.seed()
        return torch.randn(g.shape, generator=generator).to(g.dtype)


class DeafToSeeds(Plain):
    def build(self, init: Init) -> None:
        same = Init(7)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(same.uniform(name, parameter.shape, 0.2))


class GlobalDraw(Plain):
    """A rule that draws from the global generator without using the number."""

    def after_step(self, s: Step) -> None:
        torch.rand(1)


class GlobalSeed(Noisy):
    """A rule that draws from no global generator, but reads its seed."""

    def noise(self, name: str, g: Tensor, s: Step) -> Tensor:
        generator = torch.Generator().manual_seed(torch.initial_seed())
        return torch.randn(g.shape, generator=generator).to(g.dtype)


class CountsPredictions(Plain):
    seen: Tensor

    def build(self, init: Init) -> None:
        self.register_buffer("seen", torch.zeros(()))

    def predict(self, x: Tensor) -> Tensor:
        self.seen += 1
        return super().predict(x)


class CentresBatch(Plain):
    """A rule whose logits of an example depend on the other examples of the batch."""

    def predict(self, x: Tensor) -> Tensor:
        logits = super().predict(x)
        return logits - 0.1 * logits.mean(0) if len(x) > 1 else logits


class LeavesTraining(Plain):
    def predict(self, x: Tensor) -> Tensor:
        logits = super().predict(x)
        self.train()
        return logits


class RemembersLabels(Plain):
    counts: Tensor | None = None

    def after_step(self, s: Step) -> None:
        self.counts = self.target.bincount(minlength=self.task.classes)

    def prepare(self, batch: Batch, s: Step) -> Batch:
        self.target = batch.target.clone()
        self.target[0] = 0
        return batch

    def predict(self, x: Tensor) -> Tensor:
        logits = super().predict(x)
        return logits if self.counts is None else logits + 0.01 * self.counts


class UnsavedState(Plain):
    """A rule that predicts with a tensor that is in no state_dict."""

    def build(self, init: Init) -> None:
        self.offset = init.normal("offset", (self.task.classes,), 0.1)

    def predict(self, x: Tensor) -> Tensor:
        return super().predict(x) + self.offset


class PickledState(Plain):
    def get_extra_state(self) -> Any:
        return fractions.Fraction(1, 3)

    def set_extra_state(self, state: Any) -> None:
        pass


class WrongFactor(ClosedForm):
    factor = 2.0


class ClaimsTooMuch(Plain):
    @classmethod
    def claims(cls, config: RuleConfig, network: Network) -> Claims:
        return Claims(transport="none")


class TwiceGrouped(Heads):
    def groups(self) -> list[Group]:
        return [*super().groups(), Group("again", trained(self.heads, "heads."))]


class Ungrouped(Heads):
    def build(self, init: Init) -> None:
        super().build(init)
        self.lost = nn.Parameter(init.normal("lost", (3,), 1.0))


class Climbs(Plain):
    def gradients(self, batch: Batch, s: Step) -> Grads:
        return {name: -g for name, g in super().gradients(batch, s).items()}


class Forgets(Plain):
    """A rule that counts steps in an attribute that is in no checkpoint."""

    count = 0

    def loss(self, batch: Batch, s: Step) -> Tensor:
        return super().loss(batch, s) / (1 + self.count)

    def after_step(self, s: Step) -> None:
        self.count += 1


class Miscounts(Plain):
    """A rule that trains the same after a resume, but logs other numbers."""

    count = 0

    def after_step(self, s: Step) -> None:
        self.count += 1
        s.log("steps", torch.tensor(float(self.count)))


class Phantom(Plain):
    expected_failures: ClassVar[Mapping[str, str]] = {"lerns": "No rule does."}


class Speechless(Climbs):
    expected_failures: ClassVar[Mapping[str, str]] = {"learns": " "}


class Modest(Plain):
    expected_failures: ClassVar[Mapping[str, str]] = {"nan_reported": "Thought so."}


RIGHT: list[type[Rule]] = [Heads, ClosedForm, Plain, Noisy]

ONE_DEVICE = "stays_on_its_device"
ACTS, EQUAL = "every_option_acts", "equal_options_are_the_same_rule"
CLAIMS, RESUMES = "claims_equal_measurements", "resumes_in_a_new_process"
WRONG: dict[type[Rule], set[str]] = {
    RequiredOption: {"builds_from_defaults", ACTS, "learns", RESUMES},
    LossyOption: {"options_round_trip", ACTS},
    LossyChoice: {"options_round_trip", ACTS},
    LooseOptions: {"unknown_options_refused", ACTS},
    DeadOption: {ACTS},
    NeedsAnother: {ACTS},
    CallsEqual: {EQUAL},
    NumbersOfOneBlock: {EQUAL},
    CrashesOnMixer: {"networks_train"},
    RefusesWithoutHint: {"networks_train"},
    RefusesAll: {"builds_from_defaults", "networks_train"},
    SmallHeads: {"block_counts"},
    GreyOnly: {"grey_and_colour"},
    TwoForwards: {"batch_norm_once_per_step"},
    StillStatistics: {"batch_norm_once_per_step"},
    DividesByDeviation: {"small_batches"},
    IdleParameter: {"every_parameter_moves"},
    HidesNan: {"nan_reported"},
    Unrepeatable: {
        ONE_DEVICE,
        "same_seed_same_weights",
        "global_randomness_unused",
        CLAIMS,
        RESUMES,
    },
    DeafToSeeds: {"same_seed_same_weights"},
    GlobalDraw: {"global_randomness_unused", CLAIMS},
    GlobalSeed: {ONE_DEVICE, "global_randomness_unused", RESUMES},
    CountsPredictions: {"predict_changes_nothing", CLAIMS},
    CentresBatch: {"predict_changes_nothing", CLAIMS},
    LeavesTraining: {"predict_changes_nothing"},
    RemembersLabels: {ONE_DEVICE, "labels_unused_at_prediction", "state_restores_predictions"},
    UnsavedState: {ONE_DEVICE, "state_restores_predictions"},
    PickledState: {"state_restores_predictions", "learns", RESUMES},
    WrongFactor: {"cotangent_is_the_gradient_of_loss"},
    ClaimsTooMuch: {CLAIMS},
    TwiceGrouped: {"parameters_accounted"},
    Ungrouped: {"parameters_accounted"},
    Climbs: {"learns"},
    Forgets: {RESUMES},
    Miscounts: {ONE_DEVICE, RESUMES},
    Phantom: {"expected_failures_explained"},
    Speechless: {"expected_failures_explained", "learns"},
    WaitsForValues: {ONE_DEVICE},
    Modest: {"nan_reported"},
}
"""The checks that fail on each wrong rule; all others pass."""

OPTIONS: dict[type[Rule], dict[str, Any]] = {RequiredOption: {"scale": 1.0}}
