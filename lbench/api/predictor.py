"""``lbench.load``: a trained network as a plain module that predicts on raw images."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lbench.api.comparison import pairs
from lbench.api.progress import Notifier
from lbench.api.run_result import RunResult
from lbench.api.training import home_at, with_plugin
from lbench.data.permutation import permutation
from lbench.errors import UsageError
from lbench.init import Init
from lbench.networks.spec import NetworkSpec, network_spec
from lbench.registry import Registry
from lbench.rule import Rule
from lbench.rundir import damaged
from lbench.task import Task
from lbench.training.cell import build_network
from lbench.training.digest import code_digest
from lbench.training.weights import BEST, LAST, read_file

FILES = {"last": LAST, "best": BEST}


class Predictor(nn.Module):
    """A trained network that maps raw images to logits.

    ``rule`` and ``rule.network`` are modules with the trained weights.

    Args:
        rule: the rule with its trained weights.
        mean: mean per channel of pixels in [0, 1]; None if images are not standardised.
        std: standard deviation per channel, likewise; 0 counts as 1.
        order: order of the pixels, int64, (height * width,); None leaves them in place.

    Attributes:
        description: metadata of the file of weights: configuration, seed, shape, classes.
    """

    mean: Tensor
    std: Tensor
    order: Tensor | None

    def __init__(
        self,
        rule: Rule,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        order: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.rule = rule
        self.description: Mapping[str, Any] = {}
        centre = [0.0] * rule.task.shape[0] if mean is None else list(mean)
        spread = [1.0] * rule.task.shape[0] if std is None else [s or 1.0 for s in std]
        self.register_buffer("mean", torch.tensor(centre).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(spread).view(-1, 1, 1))
        self.register_buffer("order", order)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of raw images, (batch, classes), without a graph.

        Args:
            images: (batch, channels, height, width) of the dataset's shape; uint8, or floats from
                0 to 1.

        Raises:
            ValueError: the images have another shape.
        """
        shape = tuple(self.rule.task.shape)
        if images.dim() != 4 or tuple(images.shape[1:]) != shape:
            raise ValueError(
                f"images must have shape (batch, {', '.join(map(str, shape))}), "
                f"but have {tuple(images.shape)}"
            )
        pixels = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        if self.order is not None:
            pixels = pixels.flatten(2)[..., self.order].view_as(pixels)
        with torch.no_grad():
            return self.rule.predict((pixels - self.mean) / self.std)


def load(
    run: str | Path | RunResult,
    *,
    seed: int | None = None,
    weights: str = "last",
    home: str | Path | None = None,
    plugin: str | Path | None = None,
) -> Predictor:
    """Load the trained network of a run as a module that predicts on raw images.

    ::

        model = lbench.load("lfnn_l/mnist", seed=0)
        classes = model(images).argmax(1)

    Args:
        run: a result of :func:`lbench.run`, a run directory, or the beginning of an id that only
            one configuration of the home has.
        seed: seed of the run; None if there is only one.
        weights: ``last``, or ``best`` for those of lowest validation error.
        home: the directory of runs; None for ``LBENCH_HOME``, else ``./lbench-runs``.
        plugin: a file with the rule, if the rule is not installed.

    Raises:
        UsageError: there is no such run or no such weights, or several seeds and none is given.
        DamagedError: the file of weights is damaged.
    """
    if weights not in FILES:
        raise UsageError(f"There are no weights {weights!r}.", f"Choose: {', '.join(FILES)}.")
    path = _run_dir(run, seed, home) / FILES[weights]
    try:
        state, description = read_file(path)
    except FileNotFoundError:
        raise UsageError(
            f"There is no {path}: the run has not finished, or did not save these weights.",
            "Runs under the paper protocol save the last weights only.",
        ) from None
    except ValueError as error:
        raise damaged(path, str(error)) from None
    rule = _build(description, with_plugin(plugin))
    rule.load_state_dict(state)
    order = _pixel_order(description)
    predictor = Predictor(rule, description["mean"], description["std"], order)
    predictor.description = description
    return predictor


def _run_dir(run: str | Path | RunResult, seed: int | None, home: str | Path | None) -> Path:
    if isinstance(run, RunResult):
        by_seed = {outcome.seed: outcome.run_dir for outcome in run.outcomes}
        return _select_seed(by_seed, seed, run.cell)
    path = Path(run)
    if (path / "spec.json").exists():
        return path
    if isinstance(run, Path):
        raise UsageError(f"{run} is no run directory: it has no spec.json.")
    ((cell, runs),) = pairs(home_at(home), [run], Notifier())
    return _select_seed({row.seed: row.run_dir for row in runs}, seed, cell.cell_id)


def _select_seed(by_seed: Mapping[int, Path], seed: int | None, cell: str) -> Path:
    seeds = ", ".join(map(str, sorted(by_seed))) or "none"
    if seed is None and len(by_seed) == 1:
        return next(iter(by_seed.values()))
    if seed is None:
        raise UsageError(f"{cell} has several runs, seeds {seeds}.", "Choose one: seed=0")
    if seed not in by_seed:
        raise UsageError(f"{cell} has no run of seed {seed}; its seeds are: {seeds}.")
    return by_seed[seed]


def _build(description: Mapping[str, Any], known: Registry) -> Rule:
    """Return the rule on its network as it was built for training, with initial weights."""
    spec = description["spec"]
    name, network = spec["rule"]["name"], spec["network"]
    rule_class: type[Rule] = known.load("rules", name)
    if code_digest(rule_class) != spec["rule"]["code"]:
        warnings.warn(
            f"The code of rule {name} has changed since {description['cell']} was trained: "
            "predictions may differ from those of the run.",
            stacklevel=3,
        )
    entry = known.find("networks", network["name"])
    network_class: type[NetworkSpec] = known.load("networks", network["name"])
    options = {k: v for k, v in network["options"].items() if v is not None}
    shape = tuple(description["shape"])
    task = Task(spec["task"]["dataset"], shape, description["classes"])
    init = Init(description["seed"])
    network_options = network_spec(entry, network_class, options)
    dropout = spec["recipe"].get("dropout", 0.0)
    frozen = not network.get("encoder", {}).get("trained", True)
    built = build_network(network_options, init, task, dropout, network["blocks"], frozen=frozen)
    return rule_class(built, task, rule_class.Config(**spec["rule"]["config"]), init)


def _pixel_order(description: Mapping[str, Any]) -> Tensor | None:
    """Return the order of the pixels if the dataset has the option ``permute=SEED``, else None."""
    seed = description["spec"]["task"]["options"].get("permute")
    if seed is None:
        return None
    channels, height, width = description["shape"]
    return torch.from_numpy(permutation(str(seed), (channels, height, width)))
