"""The operations of a step are those of its matrix products."""

from __future__ import annotations

from pathlib import Path

import torch

from lbench.rundir import RunDir, read_json
from lbench.training.step_flops import Products
from tests.training.helper import ask, run


def test_a_product_takes_an_addition_and_a_multiplication_per_pair() -> None:
    with Products() as products:
        _ = torch.ones(3, 4) @ torch.ones(4, 5)
    assert products.flops == 2 * 3 * 4 * 5


def test_a_convolution_counts_at_every_position() -> None:
    with Products() as products:
        torch.nn.functional.conv2d(torch.ones(2, 3, 8, 8), torch.ones(5, 3, 3, 3), padding=1)
    assert products.flops == 2 * 2 * 8 * 8 * 5 * 3 * 3 * 3


def test_a_compiled_product_counts_as_a_plain_one() -> None:
    product = torch.compile(torch.mm, backend="eager")
    with Products() as products:
        product(torch.ones(3, 4), torch.ones(4, 5))
    assert products.flops == 2 * 3 * 4 * 5


def test_bp_takes_three_products_per_layer_and_two_at_the_input(tmp_path: Path) -> None:
    resolved = ask("bp", network_options={"widths": (20, 30)}, epochs=1)
    (outcome,) = run(tmp_path, resolved)
    result = read_json(RunDir(outcome.run_dir).path / "result.json") or {}
    maps = [(64, 20), (20, 30), (30, 10)]
    products = sum(3 * a * b for a, b in maps) - 64 * 20
    assert result["step_flops"] == 2 * 32 * products


def test_a_local_rule_takes_two_products_per_layer(tmp_path: Path) -> None:
    resolved = ask("lfnn_l", network_options={"widths": (20, 30)}, epochs=1)
    (outcome,) = run(tmp_path, resolved)
    maps = [(64, 20), (20, 30), (30, 10)]
    assert outcome.result["step_flops"] == 2 * 32 * sum(2 * a * b for a, b in maps)


def test_weight_mirrors_count_their_mirror_phase(tmp_path: Path) -> None:
    """Each feedback map takes two products per draw of noise, in addition to the products of bp."""
    resolved = ask("wm", network_options={"widths": (20, 30)}, epochs=1)
    (outcome,) = run(tmp_path, resolved)
    maps = [(64, 20), (20, 30), (30, 10)]
    step = sum(3 * a * b for a, b in maps) - 64 * 20
    mirrored = sum(2 * a * b for a, b in maps[1:])
    assert outcome.result["step_flops"] == 2 * 32 * step + 2 * 128 * mirrored


def test_predicting_takes_one_product_per_layer(tmp_path: Path) -> None:
    (outcome,) = run(tmp_path, ask("bp", network_options={"widths": (20, 30)}, epochs=1))
    maps = [(64, 20), (20, 30), (30, 10)]
    assert outcome.result["predict_flops"] == 2 * sum(a * b for a, b in maps)


def test_forward_forward_predicts_with_one_pass_per_class(tmp_path: Path) -> None:
    (outcome,) = run(tmp_path, ask("forward_forward", network_options={"widths": (20, 30)}))
    assert outcome.result["predict_flops"] == 10 * 2 * (64 * 20 + 20 * 30)
