"""Running blocks twice, and batches in parts, saves memory and changes no gradient."""

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
from lbench_bp.memory import Part
from tests.plugins.small import NETS, assert_same, batch_of, gradients, make

NET = pytest.mark.parametrize("net", NETS)
UNCOUPLED = pytest.mark.parametrize("net", ["mlp", "cnn without norm", "resnet of group norm"])


def buffers(rule: Bp) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in rule.named_buffers()}


@NET
@pytest.mark.parametrize("blocks", [None, 2])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_blocks_that_run_twice_have_the_gradient_of_bp(
    net: str, blocks: int | None, dropout: float
) -> None:
    plain = make(Bp, NETS[net], blocks=blocks, dropout=dropout)
    saving = make(Bp, NETS[net], blocks=blocks, dropout=dropout, checkpoint=True)
    assert_same(gradients(saving, batch_of()), gradients(plain, batch_of()))


@pytest.mark.parametrize("net", ["cnn", "resnet"])
def test_blocks_that_run_twice_track_batchnorms_statistics_once(net: str) -> None:
    plain, saving = make(Bp, NETS[net]), make(Bp, NETS[net], checkpoint=True)
    before = buffers(saving)
    for index in range(2):
        gradients(plain, batch_of(seed=index), index)
        gradients(saving, batch_of(seed=index), index)
    expected, found = buffers(plain), buffers(saving)
    assert any(name.endswith("running_var") for name in found)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
        assert not torch.equal(found[name], before[name]), name
        assert not name.endswith("num_batches_tracked") or value == 2


@UNCOUPLED
@pytest.mark.parametrize("parts", [2, 3, 6, 50])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_batch_in_parts_has_the_gradient_loss_and_masks_of_the_whole(
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


def test_without_its_masks_dropout_would_be_another() -> None:
    batch = batch_of()
    plain, other = (gradients(make(Bp, NETS["mlp"], dropout=d), batch) for d in (0.4, 0.0))
    with pytest.raises(AssertionError):
        assert_same(plain, other)


def test_a_part_of_a_step_draws_the_rows_of_the_whole() -> None:
    s = Step(Randomness(5), 3, 2, last=True)
    whole = s.noise("a", (7, 4, 1, 1), "uniform")
    part = Part(s, slice(2, 5), 7)
    assert torch.equal(part.noise("a", (3, 4, 1, 1), "uniform"), whole[2:5])
    names = ("randomness", "index", "epoch", "phase", "last", "train", "device")
    assert all(getattr(part, name) == getattr(s, name) for name in names)


def test_with_batchnorm_a_part_has_its_own_statistics() -> None:
    """The gradient is the mean of those of the parts as batches of their own, weighted by size."""
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
        torch.testing.assert_close(value, buffers(alone)[name])  # one momentum update a part
        assert not name.endswith("num_batches_tracked") or value == 2


class Kept:
    """A tensor that the graph keeps."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


@contextmanager
def watched() -> Iterator[Callable[[], int]]:
    """The most bytes that graphs have kept at once, parameters not counted."""
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
        kept = Kept(tensor)
        weakref.finalize(kept, free, tensor.nbytes)
        return kept

    def unpack(kept: Any) -> Tensor:
        return kept.tensor if isinstance(kept, Kept) else kept

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield lambda: peak


def kept(net: Mlp | Cnn, **options: Any) -> int:
    rule, batch = make(Bp, net, **options), batch_of(60)
    with watched() as peak:
        gradients(rule, batch)
    return peak()


def test_blocks_that_run_twice_keep_less() -> None:
    net = Cnn(widths=(6,) * 8)
    plain, saving = kept(net), kept(net, checkpoint=True)
    assert saving < 0.6 * plain
    deeper = Cnn(widths=(6,) * 9)  # the input of one block more, and nothing inside
    assert 0 < kept(deeper, checkpoint=True) - saving <= 60 * 6 * 8


def test_a_batch_in_parts_keeps_a_parts_activations() -> None:
    net = Mlp(widths=(30,) * 6)
    assert kept(net, accumulate=6) == pytest.approx(kept(net) / 6, rel=0.05)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_no_part_of_a_short_batch_has_a_single_example(size: int) -> None:
    """BatchNorm cannot train on one value a channel."""
    rule, sizes = make(Bp, NETS["cnn without norm"], accumulate=4), []
    rule.network.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    gradients(rule, batch_of(size))
    assert sizes == {1: [1], 2: [2], 3: [3], 5: [3, 2]}[size]


@pytest.mark.parametrize("options", [{"checkpoint": True}, {"accumulate": 2}], ids=str)
def test_in_bfloat16_gradients_are_those_of_bp_in_bfloat16(options: dict[str, Any]) -> None:
    batch = batch_of(8)
    batch.x = batch.x.float()
    plain, saving = (
        make(Bp, NETS["cnn without norm"]),
        make(Bp, NETS["cnn without norm"], **options),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, found = gradients(plain.float(), batch), gradients(saving.float(), batch)
    for name, grad in expected.items():
        assert found[name].dtype == torch.float32
        assert (found[name] - grad).norm() <= 0.05 * grad.norm() + 1e-4, name


def test_the_loss_that_is_differentiated_is_the_cross_entropy() -> None:
    rule, batch = make(Bp, NETS["resnet"], checkpoint=True), batch_of()
    expected = F.cross_entropy(rule.network(batch.x), batch.target)
    torch.testing.assert_close(rule.loss(batch, Step(Randomness(0))), expected)
