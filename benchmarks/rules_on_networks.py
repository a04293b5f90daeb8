"""Which rules train on which networks: a table of every rule and several networks.

For each pair, three steps are made with each of five seeds on the small network of the family, with
images of 3 x 3 and three classes: losses must be finite and the prediction of the trained network
must change. The rule is then audited on the same network. A rule that refuses a network must do
so by a message with a hint. The rows are those of docs/networks.md.

    python benchmarks/rules_on_networks.py
    python benchmarks/rules_on_networks.py --rules bp,lfnn_l --networks vit-tiny
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor

from lbench.auditing.rules import CLASSES, SHAPE, audit_rule
from lbench.errors import UsageError
from lbench.init import Init
from lbench.networks.spec import network_spec
from lbench.randomness import Randomness
from lbench.recipe import Recipe
from lbench.registry import registry
from lbench.rule import Rule
from lbench.step import Step
from lbench.task import Batch, Task
from lbench.training.optim import Update

NETWORKS = ("resnet18", "vit-tiny", "convnext-tiny")
SEEDS, STEPS, EXAMPLES = 5, 3, 24


def main() -> int:
    known = registry()
    parser = argparse.ArgumentParser()
    parser.add_argument("--rules", default=",".join(known.rules))
    parser.add_argument("--networks", default=",".join(NETWORKS))
    given = parser.parse_args()
    networks, failed = given.networks.split(","), False
    print(f"| rule | {' | '.join(networks)} |", flush=True)
    print(f"|---|{'---|' * len(networks)}", flush=True)
    notes: dict[str, list[str]] = {}
    for rule in given.rules.split(","):
        cells = []
        for network in networks:
            text, reason = examine(rule, network)
            failed |= text not in ("as claimed", "as claimed, `norm=group`", "refused")
            if reason:
                notes.setdefault(f"{rule}: {reason}", []).append(network)
            cells.append(text)
        print(f"| {rule} | {' | '.join(cells)} |", flush=True)
    for note, where in notes.items():
        print(f"- {note} ({', '.join(where)})", flush=True)
    return 1 if failed else 0


def examine(rule: str, network: str) -> tuple[str, str]:
    """Return the entry of the table, and the reason of a refusal or failure, or ""."""
    refusal = ""
    options: list[dict[str, str]] = [{}]
    if "norm" in registry().load("networks", network).model_fields:
        options.append({"norm": "group"})  # rules for which BatchNorm couples examples name it
    for net in options:
        try:
            for seed in range(SEEDS):
                train(rule, network, net, seed)
            report = audit_rule(rule, network=network, network_options=net)
        except UsageError as error:
            refusal = refusal or error.message
            if not error.hint:
                return "refused without a hint", error.message
            continue
        problems = [*report.contradictions, *report.reasons()]
        suffix = f", `norm={net['norm']}`" if net else ""
        return f"{report.verdict}{suffix}", "; ".join(problems)
    return "refused", refusal


def train(rule_name: str, network: str, net: dict[str, Any], seed: int) -> None:
    """Make some steps.

    Raises:
        UsageError: the rule refuses the network.
        ArithmeticError: a loss is not finite, or the steps change no prediction.
    """
    known, init, task = registry(), Init(seed), Task("toy", SHAPE, CLASSES)
    cls: type[Rule] = known.load("rules", rule_name)
    family = known.load("networks", network)
    spec = network_spec(known.find("networks", network), family, {**net, **family.small})
    rule = cls(spec.build(init, SHAPE, CLASSES), task, cls.Config(), init)
    recipe = cls.recipe(Recipe(lr=3e-3), "toy", network)
    rule.attach({group.name: Update(group, recipe) for group in rule.groups()})
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(EXAMPLES, *SHAPE, generator=generator)
    batch, before = Batch(x, torch.arange(EXAMPLES) % CLASSES), predict(rule, x)
    for index in range(STEPS):
        s = Step(Randomness(seed), index, phase=rule.phases()[0])
        rule.train().step(rule.prepare(batch, s), s)
        rule.after_step(s)
        if not s.logs["loss"].isfinite():
            raise ArithmeticError(f"loss {s.logs['loss']} of {rule_name} on {network}")
    after = predict(rule, x)
    if torch.equal(before, after) or not after.isfinite().all():
        raise ArithmeticError(f"{rule_name} on {network} does not train")


def predict(rule: Rule, x: Tensor) -> Tensor:
    """Return the logits in evaluation."""
    with torch.no_grad():
        return rule.eval().predict(x)


if __name__ == "__main__":
    raise SystemExit(main())
