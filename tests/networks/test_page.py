"""The networks have the sizes that papers publish and that docs/networks.md shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from lbench.cli.networks import shape_of
from lbench.errors import UsageError
from lbench.init import Init
from lbench.network import Network
from lbench.networks.mlp import Mlp
from lbench.networks.spec import NetworkSpec, network_spec
from lbench.networks.vgg import Vgg
from lbench.registry import registry
from lbench.rule import Rule
from lbench.task import Task
from lbench.training.job import parameters
from tests.networks.shapes import without_values

PAGE = (Path(__file__).parents[2] / "docs" / "networks.md").read_text()


def table(first: str) -> list[list[str]]:
    """Return the rows below the header that begins with these cells."""
    head, lines = f"| {first}", iter(PAGE.splitlines())
    next(line for line in lines if line.startswith(head))
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


SIZES = table("network | layers")
LARGE = table("network | Tiny ImageNet")
WITH_HEADS = table("network | rule")


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def spec_of(name: str, **options: Any) -> NetworkSpec:
    known = registry()
    return network_spec(known.find("networks", name), known.load("networks", name), options)


def built(name: str, dataset: str, **options: Any) -> tuple[Network, Init]:
    init = Init(0)
    return spec_of(name, **options).build(init, *shape_of(dataset)), init


def rule_on(name: str, rule: str, dataset: str) -> Rule:
    """Return a rule on a network; ``rule`` may have options: ``lfnn_l_v1, workers=4``."""
    network, init = built(name, dataset)
    known, *options = rule.split(", ")
    cls = registry().load("rules", known)
    shape, classes = shape_of(dataset)
    config = cls.Config(**dict(option.split("=") for option in options))
    instance: Rule = cls(network, Task(dataset, shape, classes), config, init)
    return instance


def number(text: str) -> int:
    return int(text.replace(",", ""))


# The page


def test_the_page_has_every_network() -> None:
    assert [row[0] for row in SIZES] == list(registry().networks)


@pytest.mark.parametrize("row", SIZES, ids=lambda row: row[0])
def test_the_pages_sizes_are_those_of_the_code(row: list[str]) -> None:
    name, layers, blocks, *sizes = row[:5]
    for dataset, size in zip(("mnist", "cifar10"), sizes, strict=True):
        if size == "refused":
            with pytest.raises(UsageError):
                without_values(spec_of(name), *shape_of(dataset))
            continue
        network = without_values(spec_of(name), *shape_of(dataset))
        assert len(network.layers) + 1 == number(layers)
        assert len(network.blocks) == number(blocks)
        assert count(network) == number(size)


@pytest.mark.parametrize("row", LARGE, ids=lambda row: row[0])
def test_the_sizes_for_larger_images_are_those_of_the_code(row: list[str]) -> None:
    name, tiny, large, published = row
    for size, side, classes in ((tiny, 64, 200), (large, 224, 1000)):
        network = without_values(spec_of(name), (3, side, side), classes)
        assert count(network) == number(size)
    if " in " in published:
        assert published.split()[0] == large


@pytest.mark.parametrize(("classes", "published"), [(100, 17_335_796), (1000, 26_556_296)])
def test_mixer_l_with_heads_has_the_published_size(classes: int, published: int) -> None:
    network = without_values(spec_of("mixer-l"), (3, 224, 224), classes)
    heads = len(network.blocks) * (network.blocks[0].width * classes + classes)
    assert count(network) + heads == published


@pytest.mark.parametrize("row", WITH_HEADS, ids=lambda row: f"{row[0]}-{row[2]}")
def test_the_pages_sizes_with_heads_are_those_of_the_rules(row: list[str]) -> None:
    name, rule, dataset, *sizes = row[:6]
    counts = parameters(rule_on(name, rule, dataset), shape_of(dataset)[0])
    together = counts["inf"] + counts["aux"]
    assert [counts["inf"], counts["aux"], together] == list(map(number, sizes))


@pytest.mark.parametrize(
    ("name", "dataset", "published"),
    [
        ("mlp-3x1024", "mnist", "2.9"),
        ("mlp-3x3000", "cifar10", "27.3"),
        ("vgg8b", "mnist", "7.3"),
        ("vgg8b", "cifar10", "8.9"),
        ("vgg11b", "cifar10", "11.6"),
        ("resnet20", "cifar10", "0.27"),
        ("resnet32", "cifar10", "0.46"),
        ("resnet56", "cifar10", "0.85"),
        ("resnet110", "cifar10", "1.7"),
    ],
)
def test_networks_have_the_published_size_in_millions(
    name: str, dataset: str, published: str
) -> None:
    (row,) = [row for row in SIZES if row[0] == name]
    size = number(row[3 if dataset == "mnist" else 4])
    assert f"{size / 1e6:.{len(published.partition('.')[2])}f}" == published
    assert f"{published}M" in row[5]


def test_sizes_with_heads_are_the_published_ones() -> None:
    published = [row for row in WITH_HEADS if "K" in row[6]]
    assert [row[0] for row in published] == ["mixer-s", "mixer-m", "mixer-m8"]
    for row in published:
        assert f"{number(row[5]) / 1e3:.0f}K" == row[6].split()[0]


def test_titles_have_the_sizes_of_the_page() -> None:
    rows = {row[0]: row for row in SIZES}
    together = {row[0]: row[5] for row in WITH_HEADS}
    checked = 0
    for name, entry in registry().networks.items():
        for size, dataset in re.findall(r"([\d,]+) parameters on (MNIST|CIFAR-10)", entry.title):
            if "head" in entry.title:
                assert size == together[name]
            else:
                assert size == rows[name][3 if dataset == "MNIST" else 4]
            checked += 1
    assert checked >= 10


# Sizes in papers


@pytest.mark.parametrize(
    ("spec", "dataset", "size"),
    [
        (Mlp(widths=(1024,) * 3), "mnist", 2_913_290),
        (Vgg(norm="none"), "mnist", 7_321_866),
        (Vgg(norm="none"), "cifar10", 8_897_034),
    ],
)
def test_weights_and_biases_are_those_of_the_papers_shapes(
    spec: Mlp | Vgg, dataset: str, size: int
) -> None:
    network = spec.build(Init(0), *shape_of(dataset))
    assert count(network) == size
    # BatchNorm's scale and shift replace the biases.
    normed = spec.model_copy(update={"norm": "batch"}).build(Init(0), *shape_of(dataset))
    assert count(normed) == size + sum(layer.width for layer in network.layers)


@pytest.mark.parametrize(
    ("name", "dataset", "multiplier", "published"),
    [("vgg8b", "mnist", 2, "28.2"), ("vgg11b", "cifar10", 2, "42.0")],
)
def test_wider_vggs_have_the_published_size(
    name: str, dataset: str, multiplier: float, published: str
) -> None:
    network, _ = built(name, dataset, multiplier=multiplier)
    assert f"{count(network) / 1e6:.1f}" == published


def test_predsims_similarity_heads_of_vgg8b_have_the_papers_size() -> None:
    """Count a 3x3 convolution per block, a square map for the 1024 units, and classifiers."""
    squares = sum(9 * width**2 for width in (128, 256, 256, 512, 512, 512))
    assert squares == 8_404_992
    classifiers = 6 * (4096 * 10 + 10) + (1024 * 10 + 10)
    assert squares + 1_048_576 + classifiers == number(WITH_HEADS[5][4])


@pytest.mark.parametrize(
    ("name", "workers", "published", "without_heads"),
    [("lfnn-v1-mnist", 4, 626_298, 438_118), ("lfnn-v1-cifar", 5, 876_245, 630_465)],
)
def test_the_first_lfnn_networks_have_the_size_that_keras_counts(
    name: str, workers: int, published: int, without_heads: int
) -> None:
    """Count scale, shift, running mean and variance of each BatchNorm channel, as Keras does."""
    dataset = {"mnist": "mnist", "cifar": "cifar10"}[name.rpartition("-")[2]]
    rule: Any = rule_on(name, f"lfnn_l_v1, workers={workers}", dataset)
    norms = [norm for norm in rule.modules() if isinstance(norm, nn.BatchNorm2d)]
    total = count(rule) + sum(4 * norm.num_features for norm in norms)
    assert total == published
    assert total - count(rule.heads) == without_heads
