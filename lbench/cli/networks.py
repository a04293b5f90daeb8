"""``lbench networks``: list the networks, or show the layers of one on a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lbench.cli.common import (
    data_dir_option,
    data_option,
    json_option,
    name_argument,
    plugin_option,
    print_json,
    warn_left_out,
)
from lbench.cli.data import prepare_with
from lbench.containment import contained
from lbench.errors import DataError, UsageError
from lbench.hooks import DatasetEntry, NetworkEntry
from lbench.output.table import Table, text
from lbench.registry import registry

if TYPE_CHECKING:
    from torch import nn

    from lbench.network import Network
    from lbench.networks.spec import NetworkSpec


@click.command(epilog="Example: lbench networks mlp-275k --blocks 1")
@name_argument("networks")
@click.option("--blocks", type=int, metavar="K", help="Group the network's layers into K blocks.")
@click.option("--dataset", metavar="NAME", help="Use the image shape and classes of this dataset.")
@data_dir_option
@data_option
@plugin_option
@json_option
def command(
    name: str | None,
    blocks: int | None,
    dataset: str | None,
    data_dir: Path | None,
    data: Mapping[str, str],
    as_json: bool,
) -> None:
    """List the networks, or show one: its options, and its layers by block."""
    if name is None:
        flags = {"--blocks": blocks, "--dataset": dataset, "--data-dir": data_dir, "--data": data}
        if given := [flag for flag, value in flags.items() if value not in (None, {})]:
            raise UsageError(
                f"{given[0]} needs the NAME of a network.", "List the names with: lbench networks"
            )
        _list(as_json)
        return
    content = describe(name, blocks, dataset, data_dir, data)
    if as_json:
        print_json(content)
    else:
        _show(content)


def default_dataset(network: str) -> str:
    """Return the dataset on which a network is shown if the user names none.

    It is the first dataset that has this network as its default, else one that the network's
    title names, else the reference dataset; the entry of the dataset must declare a shape.
    """
    title = registry().find("networks", network).title
    known = [entry for entry in registry().datasets.values() if entry.shape is not None]
    own = [entry.name for entry in known if entry.network == network]
    titled = [entry.name for entry in known if entry.title in title]
    return [*own, *titled, registry().reference("datasets")][0]


def shape_of(
    dataset: str, data_dir: Path | None = None, data: Mapping[str, str] | None = None
) -> tuple[tuple[int, int, int], int]:
    """Return the shape of an example, (channels, height, width), and the number of classes.

    Raises:
        UsageError: no plugin has this dataset, or it has no such option.
        DataError: the dataset is missing, or its shape is not known before it is decoded.
    """
    from lbench.data.status import status

    data = data or {}
    source = registry().load("datasets", dataset)(**data)
    entry: DatasetEntry = registry().find("datasets", dataset)
    if entry.shape is not None and entry.classes is not None and data_dir is None:
        return entry.shape, entry.classes
    state = status(source, data_dir)
    if state["message"]:
        raise DataError(state["message"], state["hint"])
    if state["shape"] is None:
        raise DataError(
            f"The shape of dataset {dataset!r} is not known before it is decoded.",
            f"Decode it with: {prepare_with(dataset, data_dir, data)}",
        )
    channels, height, width = state["shape"]
    return (channels, height, width), state["classes"]


def specify(name: str) -> NetworkSpec:
    """Return the options of a network with its preset."""
    from lbench.networks.spec import network_spec

    known = registry()
    return network_spec(known.find("networks", name), known.load("networks", name), {})


def build(name: str, dataset: str) -> Network:
    """Return a network with the initial weights of seed 0, to show its layers.

    Raises:
        UsageError: the name of the network or dataset is unknown.
    """
    from lbench.init import Init

    return specify(name).build(Init(0), *shape_of(dataset))


@contained()
def describe(
    name: str,
    blocks: int | None,
    dataset: str | None,
    data_dir: Path | None,
    data: Mapping[str, str],
) -> dict[str, Any]:
    """Return the object that ``lbench networks NAME --json`` prints.

    Raises:
        UsageError: a name or an option is unknown, or there are more blocks than layers.
        DataError: the dataset's shape is not known.
    """
    import torch

    from lbench.init import Init

    spec = specify(name)
    dataset = dataset or default_dataset(name)
    shape, classes = shape_of(dataset, data_dir, data)
    network = spec.build(Init(0), shape, classes)
    if blocks is not None:
        network = network.regrouped(blocks)
    network.eval()
    chosen = spec.model_dump(mode="json")
    rows = []
    x = torch.zeros(1, *shape)
    for index, block in enumerate(network.blocks):
        with torch.no_grad():
            x = block(x)
        layers = [
            {
                "name": layer.name,
                "map": _map(layer.affine),
                "norm": None if layer.norm is None else type(layer.norm).__name__,
                "width": layer.width,
                "parameters": _size(layer),
            }
            for layer in block.layers
        ]
        rows.append(
            {
                "block": index,
                "layers": layers,
                "output": list(x.shape[1:]),
                "parameters": _size(block),
            }
        )
    entry: NetworkEntry = registry().find("networks", name)
    return {
        "name": name,
        "title": entry.title,
        "plugin": registry().owner("networks", name),
        "options": [{**row, "default": chosen[row["name"]]} for row in type(spec).table()],
        "dataset": dataset,
        "shape": list(shape),
        "classes": classes,
        "blocks": rows,
        "readout": {"width": classes, "parameters": _size(network.readout)},
        "parameters": _size(network),
    }


def _map(affine: nn.Module) -> str:
    kernel = getattr(affine, "kernel_size", None)
    return f"{kernel[0]}x{kernel[1]} convolution" if kernel else "linear"


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _list(as_json: bool) -> None:
    rows = [
        {"name": e.name, "title": e.title, "plugin": registry().owner("networks", e.name)}
        for e in registry().networks.values()
    ]
    if as_json:
        print_json(rows)
    else:
        listed = [list(row.values()) for row in rows]
        Table("", ["network", "what it is", "plugin"], listed).print()
    warn_left_out()


def _show(content: dict[str, Any]) -> None:
    click.echo(f"{content['name']}: {content['title']} (plugin {content['plugin']})")
    Table(
        "",
        ["option", "default", "what it may be", "meaning"],
        [[o["name"], text(o["default"]), o["values"], o["help"]] for o in content["options"]],
    ).print()
    rows = []
    for block in content["blocks"]:
        for layer in block["layers"]:
            last = layer is block["layers"][-1]
            output = "x".join(str(side) for side in block["output"]) if last else ""
            norm = f", {layer['norm']}" if layer["norm"] else ""
            rows.append(
                [str(block["block"]), layer["name"], layer["map"] + norm, str(layer["width"]),
                 f"{layer['parameters']:,}", output]
            )  # fmt: skip
        rest = block["parameters"] - sum(layer["parameters"] for layer in block["layers"])
        if rest:
            rows.append([str(block["block"]), "other", "", "", f"{rest:,}", ""])
    readout = content["readout"]
    rows.append(["", "readout", "linear", str(readout["width"]), f"{readout['parameters']:,}", ""])
    rows.append(["", "total", "", "", f"{content['parameters']:,}", ""])
    shape = "x".join(str(side) for side in content["shape"])
    Table(
        f"On {content['dataset']} ({shape}, {content['classes']} classes)",
        ["block", "layer", "map", "width", "parameters", "the block emits"],
        rows,
        right=[3, 4],
    ).print()
