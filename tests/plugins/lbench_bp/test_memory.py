"""Checkpointing and accumulation save memory and change no gradient."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.randomness import Randomness
from lbench.step import Step
from lbench.task import Batch
from lbench_bp.bp import Bp
from lbench_bp.memory import PartStep
from tests.plugins.small import NETS, assert_same, batch_of, gradients, make

NET = pytest.mark.parametrize("net", NETS)
UNCOUPLED = pytest.mark.parametrize("net", ["mlp", "cnn without norm", "resnet of group norm"])


def buffers(rule: Bp) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in rule.named_buffers()}


@NET
@pytest.mark.parametrize("blocks", [None, 2])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_checkpointing_has_the_gradient_of_bp(net: str, blocks: int | None, dropout: float) -> None:
    plain = make(Bp, NETS[net], blocks=blocks, dropout=dropout)
    saving = make(Bp, NETS[net], blocks=blocks, dropout=dropout, checkpoint=True)
    assert_same(gradients(saving, batch_of()), gradients(plain, batch_of()))


@pytest.mark.parametrize("net", ["cnn", "resnet"])
def test_checkpointing_updates_batchnorms_statistics_once(net: str) -> None:
    plain, saving = make(Bp, NETS[net]), make(Bp, NETS[net], checkpoint=True)
    before = buffers(saving)
    for index in range(2):
        gradients(plain, batch_of(seed=index), index)
        gradients(saving, batch_of(seed=index), index)
    expected, actual = buffers(plain), buffers(saving)
    assert any(name.endswith("running_var") for name in actual)
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name
        assert not torch.equal(actual[name], before[name]), name
        assert not name.endswith("num_batches_tracked") or value == 2


@UNCOUPLED
@pytest.mark.parametrize("parts", [2, 3, 6, 50])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_accumulation_has_the_gradient_loss_and_masks_of_the_whole_batch(
    net: str, parts: int, checkpoint: bool
) -> None:
    batch = batch_of(7)  # parts of unequal size
    plain = make(Bp, NETS[net], dropout=0.4)
    parted = make(Bp, NETS[net], dropout=0.4, accumulate=parts, checkpoint=checkpoint)
    assert_same(gradients(parted, batch), gradients(plain, batch))
    logs = []
    for rule in (plain, parted):
        s = Step(Randomness(0))
        rule.step(batch, s)
        logs.append(s.logs["loss"])
    torch.testing.assert_close(logs[1], logs[0], rtol=1e-12, atol=0)


def test_dropout_changes_the_gradient() -> None:
    batch = batch_of()
    plain, other = (gradients(make(Bp, NETS["mlp"], dropout=d), batch) for d in (0.4, 0.0))
    with pytest.raises(AssertionError):
        assert_same(plain, other)


def test_a_part_draws_its_rows_of_the_whole_batchs_noise() -> None:
    s = Step(Randomness(5), 3, 2, last=True)
    whole = s.noise("a", (7, 4, 1, 1), "uniform")
    part = PartStep(s, slice(2, 5), 7)
    assert torch.equal(part.noise("a", (3, 4, 1, 1), "uniform"), whole[2:5])
    names = ("randomness", "index", "epoch", "phase", "last", "train", "device")
    assert all(getattr(part, name) == getattr(s, name) for name in names)


def test_batchnorm_normalises_each_part_by_its_own_statistics() -> None:
    """The gradient is the mean of the gradients of the parts as batches, weighted by size."""
    batch = batch_of(7)
    parted = make(Bp, NETS["cnn"], accumulate=2)
    expected: dict[str, Tensor] = {}
    alone = make(Bp, NETS["cnn"])
    for rows in (slice(0, 4), slice(4, 7)):
        part = Batch(batch.x[rows], batch.target[rows])
        for name, grad in gradients(alone, part).items():
            expected[name] = expected.get(name, 0) + grad * len(part.x) / 7
    assert_same(gradients(parted, batch), expected)
    for name, value in buffers(parted).items():
        torch.testing.assert_close(value, buffers(alone)[name])  # one momentum update per part
        assert not name.endswith("num_batches_tracked") or value == 2


class Stored:
    """A tensor that the graph stores."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


@contextmanager
def peak_memory() -> Iterator[Callable[[], int]]:
    """Measure the peak memory of tensors that graphs store, without parameters, in bytes."""
    now = peak = 0

    def free(size: int) -> None:
        nonlocal now
        now -= size

    def pack(tensor: Tensor) -> Any:
        nonlocal now, peak
        if isinstance(tensor, torch.nn.Parameter) or tensor._base is not None:
            return tensor
        now += tensor.nbytes
        peak = max(peak, now)
        stored = Stored(tensor)
        weakref.finalize(stored, free, tensor.nbytes)
        return stored

    def unpack(stored: Any) -> Tensor:
        return stored.tensor if isinstance(stored, Stored) else stored

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield lambda: peak


def stored_bytes(net: Mlp | Cnn, **options: Any) -> int:
    rule, batch = make(Bp, net, **options), batch_of(60)
    with peak_memory() as peak:
        gradients(rule, batch)
    return peak()


def test_checkpointing_stores_less() -> None:
    net = Cnn(widths=(6,) * 8)
    plain, saving = stored_bytes(net), stored_bytes(net, checkpoint=True)
    assert saving < 0.6 * plain
    deeper = Cnn(widths=(6,) * 9)  # stores the input of one more block, and nothing inside it
    assert 0 < stored_bytes(deeper, checkpoint=True) - saving <= 60 * 6 * 8


def test_accumulation_stores_the_activations_of_one_part() -> None:
    net = Mlp(widths=(30,) * 6)
    assert stored_bytes(net, accumulate=6) == pytest.approx(stored_bytes(net) / 6, rel=0.05)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_no_part_of_a_short_batch_has_a_single_example(size: int) -> None:
    """BatchNorm cannot train on one value per channel."""
    rule, sizes = make(Bp, NETS["cnn without norm"], accumulate=4), []
    rule.network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    gradients(rule, batch_of(size))
    assert sizes == {1: [1], 2: [2], 3: [3], 5: [3, 2]}[size]


@pytest.mark.parametrize("options", [{"checkpoint": True}, {"accumulate": 2}], ids=str)
def test_gradients_in_bfloat16_are_those_of_bp_in_bfloat16(options: dict[str, Any]) -> None:
    batch = batch_of(8)
    batch.x = batch.x.float()
    plain, saving = (
        make(Bp, NETS["cnn without norm"]),
        make(Bp, NETS["cnn without norm"], **options),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, actual = gradients(plain.float(), batch), gradients(saving.float(), batch)
    for name, grad in expected.items():
        assert actual[name].dtype == torch.float32
        assert (actual[name] - grad).norm() <= 0.05 * grad.norm() + 1e-4, name


def test_the_differentiated_loss_is_the_cross_entropy() -> None:
    rule, batch = make(Bp, NETS["resnet"], checkpoint=True), batch_of()
    expected = F.cross_entropy(rule.network(batch.x), batch.target)
    torch.testing.assert_close(rule.loss(batch, Step(Randomness(0))), expected)
