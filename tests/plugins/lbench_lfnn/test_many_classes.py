"""Workers for many classes: pooled groups of channels, and what leadership changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lbench.errors import UsageError
from lbench.init import Init
from lbench.network import Network
from lbench.networks.cnn import Cnn
from lbench.networks.mlp import Mlp
from lbench.networks.spec import NetworkSpec
from lbench.randomness import Randomness
from lbench.rule import Rule
from lbench.step import Step
from lbench.task import Batch, Task
from lbench_lfnn.lfnn import Lfnn
from lbench_lfnn.lfnn_l import LfnnL
from lbench_lfnn.lfnn_l_head import LfnnLHead
from lbench_lfnn.lfnn_l_rr import LfnnLRr
from lbench_lfnn.lfnn_l_v1 import LfnnLV1
from lbench_lfnn.lfnn_online import LfnnOnline
from lbench_lfnn.lfnn_v2 import LfnnV2
from lbench_lfnn.pooled import PooledWorkers

from . import paper

TINY_IMAGENET = (3, 64, 64)
SHARES = (0.1, 0.5, 1.0)

POOLED: dict[str, tuple[NetworkSpec, tuple[int, int, int], dict[str, Any]]] = {
    # 12 and 9 channels of 4 x 4 and 2 x 2, for 7 classes: an unequal split, overlapping windows.
    "cnn": (Cnn(widths=(12, 9), norm="none"), (2, 4, 4), {"workers": 4}),
    "one cell": (Cnn(widths=(30, 20), norm="none"), (1, 3, 5), {"workers": 2}),
    "mlp": (Mlp(widths=(30, 23)), (1, 2, 3), {"workers": 3, "forward": "relu"}),
}
CASES = pytest.mark.parametrize("case", POOLED)


def pooled(rule: type[Rule], case: str, **options: Any) -> Any:
    net, shape, own = POOLED[case]
    return paper.make(rule, net, shape, classes=7, **own, **options)


def scores_of(rule: Any, h: Tensor) -> list[Tensor]:
    """Return the class scores (batch, classes) of each worker, by PyTorch's adaptive pooling."""
    count, classes = rule.config.workers, rule.task.classes
    channels, sides = h.shape[1], h.shape[2:]
    least = channels // count
    side = 1
    while sides and least * min(side, sides[0]) * min(side, sides[1]) < classes:
        side += 1
    if sides:
        h = F.adaptive_avg_pool2d(h, (min(side, sides[0]), min(side, sides[1])))
    scores, first = [], 0
    for w in range(count):
        size = least + (w < channels % count)
        f = h[:, first : first + size].flatten(1)
        scores.append(F.adaptive_avg_pool1d(f, classes))
        first += size
    assert first == channels
    return scores


def losses_of(rule: Any, h: Tensor, target: Tensor) -> Tensor:
    """Return the paper's two losses of one block, summed over pairs of example and worker."""
    scores = scores_of(rule, h)
    led = paper.choose(rule, scores, target)
    n, count, size = len(led[0]), len(scores), len(target)
    entropies, total = paper.worker_losses(scores, target), h.new_zeros(())
    for b, leading in enumerate(led):
        best = scores[leading[0]][b].softmax(0).detach()
        for w in range(count):
            if w in leading:
                total = total + entropies[b, w] / (n * size)
            else:
                gap = (scores[w][b].softmax(0) - best).square().mean()
                total = total + rule.config.lam * gap / ((count - n) * size)
    return total


@CASES
@pytest.mark.parametrize("by", ["batch", "example"])
def test_pooled_workers_have_the_gradient_of_the_papers_losses(case: str, by: str) -> None:
    rule = pooled(LfnnL, case, leadership=0.5, lam=2.5, selection=by)
    batch = paper.batch_for(rule)
    actual, x = paper.gradients(rule, batch), batch.x
    for k, block in enumerate(rule.network.blocks):
        h = F.relu(block.preactivation(x))
        own = {f"network.blocks.{k}.{name}": p for name, p in block.named_parameters()}
        loss = losses_of(rule, h, batch.target)
        expected = torch.autograd.grad(loss, list(own.values()))
        paper.assert_same(
            {name: actual[name] for name in own}, dict(zip(own, expected, strict=True))
        )
        x = block.emit(h).detach()


@CASES
def test_the_closed_form_and_the_loss_of_pooled_workers_agree(case: str) -> None:
    rule = pooled(LfnnL, case, leadership=0.5)
    block, batch = rule.network.blocks[0], paper.batch_for(rule)
    workers = rule.workers[0]
    z = block.preactivation(batch.x).detach().requires_grad_()
    predictions = workers.predict(z, F.relu(z))
    choice = rule.selection(0).choose(predictions.y.detach(), batch.target, paper.step())
    (exact,) = torch.autograd.grad(
        workers.loss(predictions.logits, batch.target, choice, (1.0, 2.0)), z
    )
    with torch.no_grad():
        grad = workers.logits_grad(predictions, batch.target, choice, (1.0, 2.0))
        given = workers.pull(grad, predictions, z, F.relu(z))
    assert torch.allclose(given, exact, rtol=1e-10, atol=1e-14)


@CASES
def test_followers_of_pooled_workers_get_no_output_error(case: str) -> None:
    """With local losses of weight 0, lfnn changes the channels of leaders alone."""
    rule = pooled(Lfnn, case, leadership=0.5, lambda1=0.0, lambda2=0.0)
    batch = paper.batch_for(rule)
    grads, x = paper.gradients(rule, batch), batch.x
    for k, block in enumerate(rule.network.blocks):
        h = F.relu(block.preactivation(x))
        (leading, *_) = paper.choose(rule, scores_of(rule, h), batch.target)
        workers = rule.workers[k]
        assert isinstance(workers, PooledWorkers)
        leads = torch.tensor([w in leading for w in range(workers.count)])
        of_channel = leads.repeat_interleave(torch.tensor(workers.pooling.sizes))
        grad = grads[f"network.blocks.{k}.layer.affine.weight"].flatten(1)
        assert not grad[~of_channel].any()
        assert grad[of_channel].any()
        x = block.emit(h).detach()


def test_pooled_workers_of_whole_channels_per_class_are_those_of_units() -> None:
    """With one worker of a channel per class, both divisions of a block are the same."""
    net, shape = Cnn(widths=(7, 14), norm="none"), (2, 4, 4)
    pools = paper.make(LfnnL, net, shape, classes=7, workers=1)
    one = paper.make(LfnnL, Cnn(widths=(7,), norm="none"), shape, classes=7)
    batch = paper.batch_for(pools)
    name = "network.blocks.0.layer.affine.weight"
    expected = paper.gradients(one, batch)[name]
    assert torch.allclose(paper.gradients(pools, batch)[name], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("net", "options", "words"),
    [
        (Cnn(widths=(6,), norm="none"), {"workers": 7}, "few for 7 workers with 40 classes"),
        (Mlp(widths=(60,)), {"workers": 2, "forward": "relu"}, "few for 2 workers with 40 classes"),
        (Mlp(widths=(80,)), {"workers": 2}, "workers=2 need forward=relu"),
        (Cnn(widths=(80,)), {"workers": 2, "units": 2}, "units and workers are two ways"),
    ],
    ids=["channels", "units", "forward", "both"],
)
def test_groups_that_do_not_fit_are_refused_with_a_hint(
    net: NetworkSpec, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as refusal:
        paper.make(LfnnL, net, (1, 4, 4), classes=40, **options)
    assert refusal.value.hint


def test_the_hint_names_a_number_of_workers_that_fits() -> None:
    net, shape = Cnn(widths=(16,), norm="none"), (1, 4, 4)
    with pytest.raises(UsageError) as refusal:
        paper.make(LfnnL, net, shape, classes=40, workers=9)
    assert "--set workers=5" in refusal.value.hint
    paper.make(LfnnL, net, shape, classes=40, workers=5)
    with pytest.raises(UsageError):
        paper.make(LfnnL, net, shape, classes=40, workers=6)


# What leadership changes


def on_tiny_imagenet(rule: type[Rule], network: Network, **options: Any) -> Rule:
    task = Task("tiny", TINY_IMAGENET, 200)
    return rule(network, task, rule.Config(**options), Init(0))


@pytest.mark.parametrize(
    ("rule", "options", "widths", "differs"),
    [
        (LfnnL, {}, (200,), False),
        (LfnnL, {"workers": 5}, (200,), True),
        (LfnnLRr, {}, (20, 20, 40, 40, 40, 40), True),
    ],
    ids=["lfnn_l", "lfnn_l, pooled groups", "lfnn_l_rr"],
)
def test_gradients_at_200_classes_depend_on_leadership_where_the_numbers_of_leaders_do(
    rule: type[Rule], options: dict[str, Any], widths: tuple[int, ...], differs: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, target = torch.rand(4, *TINY_IMAGENET, generator=generator), torch.arange(4) * 50
    received, numbers = [], []
    for leadership in SHARES:
        network = Cnn(widths=widths, norm="group").build(Init(0), TINY_IMAGENET, 200)
        trained = on_tiny_imagenet(rule, network, leadership=leadership, **options)
        numbers.append(rule.per_block(trained.config, trained.network, trained.task)["leaders"])
        grads: dict[str, Tensor] = {}
        trained.attach({group.name: grads.update for group in trained.groups()})
        trained.step(Batch(x, target), Step(Randomness(0)))
        received.append(grads)
    leaders = (1, 3, 5) if differs else (1, 1, 1)
    assert numbers == [[number] * len(widths) for number in leaders]
    for name, grad in received[0].items():
        if name.startswith("network.blocks."):
            same = [torch.equal(grad, grads[name]) for grads in received[1:]]
            assert same == [not differs] * 2, name


def test_the_default_cnn_has_one_worker_of_lfnn_l_per_block_at_200_and_1000_classes() -> None:
    for classes in (200, 1000):
        network = Cnn(norm="none").build(Init(0), (3, 8, 8), classes)
        task = Task("many", (3, 8, 8), classes)
        numbers = LfnnL.per_block(LfnnL.Config(), network, task)
        assert numbers == {"workers": [1] * 6, "leaders": [1] * 6}
        assert "--set workers=5" in LfnnL.remedy("leadership", LfnnL.Config(), network, task)


@pytest.mark.parametrize(
    ("rule", "options", "workers", "leaders"),
    [
        (LfnnL, {}, [3, 4], [2, 3]),
        (LfnnL, {"units": 3}, [1, 1], [1, 1]),
        (LfnnL, {"workers": 2}, [2, 2], [1, 1]),
        (Lfnn, {"leadership": 1.0}, [3, 4], [3, 4]),
        (LfnnLRr, {}, [5, 5], [4, 4]),
        (LfnnLHead, {"workers": 3, "leadership": 0.4}, [3, 3], [1, 1]),
        (LfnnV2, {}, [0, 32], [0, 23]),
    ],
)
def test_numbers_per_block_are_those_of_the_workers(
    rule: type[Rule], options: dict[str, Any], workers: list[int], leaders: list[int]
) -> None:
    widths = (9, 12) if options.get("units") != 3 else (9, 9)
    network = Cnn(widths=widths, norm="none").build(Init(0), (1, 4, 4), 3)
    built: Any = rule(network, Task("toy", (1, 4, 4), 3), rule.Config(**options), Init(0))
    numbers = rule.per_block(built.config, network, built.task)
    assert numbers == {"workers": workers, "leaders": leaders}
    if rule is not LfnnV2:
        assert [block.count for block in built.workers] == workers
        assert [block.leaders for block in built.workers] == leaders


def test_other_names_are_used_where_numbers_mean_something_else() -> None:
    network = Mlp(widths=(12, 9)).build(Init(0), (1, 2, 2), 3)
    task = Task("toy", (1, 2, 2), 3)
    assert LfnnOnline.per_block(LfnnOnline.Config(), network, task) == {
        "workers of each class": [4, 3], "leaders of each class": [1, 1],
    }  # fmt: skip
    assert LfnnLV1.per_block(LfnnLV1.Config(), network, task) == {"workers": [0, 4]}


@pytest.mark.parametrize(
    ("options", "idle"),
    [
        ({}, {"forward"}),
        ({"leadership": 1.0}, {"selection", "follow", "reference", "lam", "forward"}),
        ({"lam": 0.0}, {"follow", "reference", "forward"}),
        ({"leadership": 0.0}, {"leader_loss", "reference", "forward"}),
        ({"workers": 3}, {"forward", "units"}),
    ],
)
def test_effective_options_leave_out_those_that_cannot_act(
    options: dict[str, Any], idle: set[str]
) -> None:
    network = Cnn(widths=(12, 9), norm="none").build(Init(0), (1, 4, 4), 3)
    acting = LfnnL.effective(LfnnL.Config(**options), network, Task("toy", (1, 4, 4), 3))
    names = set(LfnnL.Config.model_fields) - {"leadership", "rounding"}
    assert set(acting) == (names - idle) | {"leaders"}
