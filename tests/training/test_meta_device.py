"""Nothing in a training step waits for the device, or computes with tensors of two devices.

The device is PyTorch's ``meta``, whose tensors have no values: ``item()``, ``bool()`` and a copy to
the CPU fail on it, wherever a GPU would make the CPU wait.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lbench.data.augment import Augmentation
from lbench.data.loader import Batches, DeviceData
from lbench.errors import UsageError
from lbench.init import Init
from lbench.networks.spec import network_spec
from lbench.randomness import Kind, Randomness
from lbench.registry import registry
from lbench.rule import Rule
from lbench.step import Step
from lbench.task import Batch, Task

SHAPE, CLASSES, ROWS = (3, 8, 8), 4, 8
OTHERS = ("mlp", "resnet", "mixer", "resnet18", "vit-tiny", "convnext-tiny")
NETWORKS = ("cnn", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS))


class Unseeded(Randomness):
    """Randomness without generators, which the meta device does not have."""

    def draw(
        self,
        stream: str,
        index: int,
        shape: tuple[int, ...] | torch.Size,
        kind: Kind = "normal",
        device: torch.device | str = "cpu",
    ) -> Tensor:
        return torch.empty(shape, device=device)


class OneDevice(TorchDispatchMode):
    """Refuse operations on tensors of two devices; a number is on none."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = tree_leaves((args, kwargs))
        devices = {t.device.type for t in leaves if isinstance(t, Tensor) and t.dim()}
        assert len(devices) < 2, f"{func} has tensors on {sorted(devices)}"
        return func(*args, **(kwargs or {}))


def on_meta(name: str, network: str) -> Rule:
    """Return a rule on a small network; its parameters and buffers are on the meta device."""
    known, init = registry(), Init(0)
    cls: type[Rule] = known.load("rules", name)
    family = known.load("networks", network)
    spec = network_spec(known.find("networks", network), family, family.small)
    built = spec.build(init, SHAPE, CLASSES)
    rule = cls(built, Task("toy", SHAPE, CLASSES), cls.Config(), init)
    # Unlike .to("cuda"), .to("meta") makes new parameters, which a rule's own lists would lack.
    state = [*rule.parameters(), *rule.buffers()]
    return copy.deepcopy(rule, {id(t): _without_values(t) for t in state}).train()


def _without_values(t: Tensor) -> Tensor:
    empty = torch.empty_like(t, device="meta")
    return nn.Parameter(empty, t.requires_grad) if isinstance(t, nn.Parameter) else empty


@pytest.fixture(autouse=True)
def _autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let autocast have no effect: PyTorch has none for the meta device."""
    monkeypatch.setattr(torch, "autocast", lambda *args, **keywords: contextlib.nullcontext())


def descend(rule: Rule) -> dict[str, Callable[[Any], None]]:
    """Return an update of each group that changes its parameters."""

    def update(params: dict[str, Tensor]) -> Callable[[Any], None]:
        def step(grads: dict[str, Tensor]) -> None:
            with torch.no_grad():
                for name, grad in grads.items():
                    params[name].sub_(grad)

        return step

    return {group.name: update(dict(group.params)) for group in rule.groups()}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", registry().rules)
def test_a_step_stays_on_its_device(name: str, network: str) -> None:
    try:
        rule = on_meta(name, network)
    except UsageError:
        pytest.skip(f"{name} refuses {network}")
    rule.attach(descend(rule))
    batch = Batch(
        torch.empty(ROWS, *SHAPE, device="meta"),
        torch.empty(ROWS, dtype=torch.int64, device="meta"),
    )
    with OneDevice():
        for index, phase in enumerate(phase for phase in rule.phases() for _ in range(2)):
            s = Step(Unseeded(0), index, phase=phase, last=index % 2 == 1, device="meta")
            rule.step(rule.prepare(batch, s), s)
            rule.after_step(s)
            assert all(value.is_meta for value in s.logs.values())
        with torch.no_grad():
            assert rule.eval().predict(batch.x).is_meta


@pytest.mark.parametrize("augment", ["", "resizedcrop,flip,jitter,cutout2", "crop2", "translate2"])
def test_batches_are_gathered_and_augmented_on_their_device(augment: str) -> None:
    images = torch.zeros(12, *SHAPE, dtype=torch.uint8, device="meta")
    labels = torch.zeros(12, dtype=torch.int64, device="meta")
    data = DeviceData(images, labels, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    batches = Batches(data, 5, Randomness(0).generator, Augmentation.parse(augment))
    for position in range(len(batches)):
        x, target = batches.batch(0, position)
        assert x.is_meta
        assert target.is_meta
    for x, _ in data.walk(5):
        assert x.is_meta
