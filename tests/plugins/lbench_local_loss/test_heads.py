"""Similarities and predicting heads."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lbench.init import Init
from lbench.randomness import Randomness
from lbench.step import Step
from lbench_local_loss.heads import FeaturePool, PredictionHead, directions, similarity_loss

from .small import CLASSES, similarities, wanted


def test_labels_of_ten_classes_are_similar_by_1_or_minus_a_ninth() -> None:
    one_hot = F.one_hot(torch.arange(20) % 10, 10).double()
    rows = directions(one_hot)
    same = torch.arange(20)[:, None] % 10 == torch.arange(20) % 10
    expected = torch.where(same, 1.0, torch.tensor(-1 / 9, dtype=torch.float64))
    torch.testing.assert_close(rows @ rows.T, expected, rtol=0, atol=1e-14)
    loss = similarity_loss(one_hot, torch.arange(20) % 10, 10, Step(Randomness(0)))
    assert loss < 1e-30


@pytest.mark.parametrize("shape", [(9,), (5, 3, 4), (3, 3, 2), (6, 1, 1), (4, 2, 1)])
def test_similarities_are_correlations_of_features_or_of_deviations_over_space(
    shape: tuple[int, ...],
) -> None:
    g = torch.Generator().manual_seed(1)
    x = torch.randn(6, *shape, generator=g, dtype=torch.float64)
    target = torch.randint(10, (6,), generator=g)
    expected = np.mean((similarities(x.numpy()) - wanted(target.numpy(), 10)) ** 2)
    actual = similarity_loss(x, target, 10, Step(Randomness(0)))
    assert actual.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", [(9,), (5, 3, 4)])
def test_similarities_do_not_depend_on_scale_and_offset_of_an_example(
    shape: tuple[int, ...],
) -> None:
    g = torch.Generator().manual_seed(2)
    x = torch.randn(6, *shape, generator=g, dtype=torch.float64)
    a = torch.rand(6, *[1] * len(shape), generator=g, dtype=torch.float64) + 0.1
    c = torch.randn(a.shape, generator=g, dtype=torch.float64)
    torch.testing.assert_close(directions(a * x + c), directions(x))


@pytest.mark.parametrize("shape", [(9,), (5, 3, 4)])
def test_the_gradient_of_the_similarity_loss_is_that_of_finite_differences(
    shape: tuple[int, ...],
) -> None:
    g = torch.Generator().manual_seed(3)
    x = torch.randn(5, *shape, generator=g, dtype=torch.float64, requires_grad=True)
    target, s = torch.tensor([0, 1, 0, 2, 2]), Step(Randomness(0))
    (actual,) = torch.autograd.grad(similarity_loss(x, target, CLASSES, s), x)
    for index in torch.randperm(x.numel(), generator=g)[:12]:
        nudge = torch.zeros(x.numel(), dtype=torch.float64)
        nudge[index] = 1e-5
        up, down = (
            similarity_loss(x.detach() + sign * nudge.view_as(x), target, CLASSES, s).item()
            for sign in (1, -1)
        )
        assert actual.flatten()[index].item() == pytest.approx((up - down) / 2e-5, abs=1e-9)


@pytest.mark.parametrize(
    ("shape", "features", "size"),
    [
        ((6, 8, 8), 384, (8, 8)),
        ((6, 8, 8), 383, (4, 8)),
        ((6, 8, 8), 96, (4, 4)),
        ((6, 8, 8), 90, (2, 4)),
        ((6, 7, 7), 100, (4, 4)),
        ((6, 8, 8), 5, (1, 1)),
        ((6,), 5, ()),
    ],
)
def test_height_and_width_are_halved_in_turn(
    shape: tuple[int, ...], features: int, size: tuple[int, ...]
) -> None:
    head = PredictionHead(Init(0), "block", shape, 10, features)
    assert head.linear.in_features == 6 * math.prod(size)
    assert not head.linear.weight.any()
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        head.linear.weight.normal_(generator=torch.Generator().manual_seed(1))
    if all(side == 8 for side in shape[1:]):
        kernel = [8 // side for side in size]
        x_pooled = F.avg_pool2d(x, kernel) if size else x
        torch.testing.assert_close(head(x), head.linear(x_pooled.flatten(1)))
    assert head(x).shape == (2, 10)


@pytest.mark.parametrize(
    ("shape", "features", "windows"),
    [
        ((6, 7, 7), 100, (2, 2)),
        ((6, 7, 7), 60, (4, 2)),
        ((6, 7, 7), 6, (8, 8)),
        ((6, 6, 6), 30, (4, 4)),
        ((6, 1, 5), 20, (1, 2)),
    ],
)
def test_a_side_that_the_window_does_not_divide_is_padded_as_in_the_released_code(
    shape: tuple[int, ...], features: int, windows: tuple[int, int]
) -> None:
    """Windows begin half a window in front of the map, and zeros outside the map count."""
    h = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    starts = [
        range(
            -(one // 2) if side % one else 0, side + (one // 2 if side % one else 0) - one + 1, one
        )
        for side, one in zip(shape[1:], windows, strict=True)
    ]
    means = [
        [
            h[:, :, max(0, r) : r + windows[0], max(0, c) : c + windows[1]].sum((2, 3))
            / math.prod(windows)
            for c in starts[1]
        ]
        for r in starts[0]
    ]
    expected = torch.stack([torch.stack(row, -1) for row in means], -2)
    actual = FeaturePool(shape, features)
    torch.testing.assert_close(actual(h), expected)
    assert actual.features == expected[0].numel()


def test_pooling_of_a_7x7_map_differs_from_adaptive_means() -> None:
    h = torch.rand(5, 4, 7, 7, generator=torch.Generator().manual_seed(0))
    pooled, adaptive = FeaturePool((4, 7, 7), 64)(h), F.adaptive_avg_pool2d(h, 4)
    assert (pooled - adaptive).abs().max() > 0.5 * adaptive.abs().max()
