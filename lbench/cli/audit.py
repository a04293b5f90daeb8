"""``lbench audit``: what updates depend on, measured and compared with what is claimed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lbench.api.progress import Slow, say
from lbench.cli.common import json_option, plugin_option, print_json
from lbench.containment import contained

if TYPE_CHECKING:
    from lbench.auditing.report import Report

EXIT_CODES = {"contradicted": 5, "not measurable": 6, "measured": 0, "as claimed": 0}
"""For each verdict of a report, the worst first."""


@click.command(name="audit")
@click.argument("rules", nargs=-1, metavar="[RULE]...")
@click.option("--set", "config", multiple=True, metavar="NAME=VALUE", help="An option of the rule.")
@click.option("--network", default="mlp", show_default=True, help="See: lbench networks")
@click.option("--net", multiple=True, metavar="NAME=VALUE", help="An option of the network.")
@click.option("--blocks", type=click.IntRange(1), help="Group the network's layers into so many.")
@click.option("--dropout", type=click.FloatRange(0, 0.9), default=0.0, help="Of each block.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of weights, data and noise.")
@click.option(
    "--picture",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also draw it: a .svg, .png or .pdf file.",
)
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a table of rules as markdown.")
@click.option(
    "--step",
    metavar="FILE.py:FUNCTION",
    help="Audit this training step of the file's variables model and batch, instead of a rule.",
)
@plugin_option
@json_option
def command(
    rules: tuple[str, ...],
    config: tuple[str, ...],
    network: str,
    net: tuple[str, ...],
    blocks: int | None,
    dropout: float,
    seed: int,
    picture: Path | None,
    as_markdown: bool,
    step: str | None,
    as_json: bool,
) -> int:
    """Measure what a rule's updates depend on, and compare it with what the rule claims.

    A small network of the named family is trained for a few steps on copies, in float64: whose
    weights reach whose update, who waits for whom, what is written, whether labels leak. Several
    rules, or without a name all that are installed, make a table. The exit code is 5 when a claim
    is contradicted, else 6 when one could not be measured.

    \b
    lbench audit lfnn_l
    lbench audit bp --network resnet --picture bp.svg
    lbench audit lfnn_l --network cnn --net norm=group --set selection=example
    lbench audit fa dfa pepita
    lbench audit --step audit_net.py:step
    """
    # Names are checked before torch is imported, so that mistakes are reported at once.
    if picture is not None and picture.suffix not in (".svg", ".png", ".pdf"):
        raise click.BadParameter(
            f"give it the ending .svg, .png or .pdf, not {picture.suffix or 'none'!r}",
            param_hint="--picture",
        )
    if step is not None:
        return _step(step, seed, picture, as_json=as_json)
    from lbench.registry import registry

    names = list(dict.fromkeys(rules or registry().rules))
    for name in names:
        registry().find("rules", name)
    registry().find("networks", network)
    if len(names) > 1 and (config or picture):
        raise click.UsageError("--set and --picture are for the audit of one rule; name one.")
    if as_markdown and as_json:
        raise click.UsageError("--markdown and --json are two ways to print; give one of them.")
    if as_markdown and picture:
        raise click.UsageError("--picture draws one audit, --markdown prints a table; give one.")
    import torch

    from lbench.training.cell import parse_settings

    torch.set_num_threads(1)  # the networks are so small that a second thread only waits
    where: dict[str, Any] = {
        "config": parse_settings(config, "--set"),
        "network": network,
        "network_options": parse_settings(net, "--net"),
        "blocks": blocks,
        "dropout": dropout,
        "seed": seed,
    }
    if len(names) > 1 or as_markdown:
        return _table(names, where, as_markdown=as_markdown, as_json=as_json)

    from lbench.auditing.rules import audit_rule

    (rule,) = names
    with contained(), Slow(rule) as slow:
        report = audit_rule(rule, **where, progress=slow.show)
    head = {"rule": rule, "config": report.config}
    return _print(report, head, picture, as_json=as_json)


def _step(text: str, seed: int, picture: Path | None, *, as_json: bool) -> int:
    """Audit the training step that a file has.

    Raises:
        click.UsageError: an option of rules was given.
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if (
            given
            and name not in ("step", "seed", "picture", "as_json")
            and context.params.get(name, True)
        ):
            what = "A rule's name" if name == "rules" else parameter.opts[0]
            raise click.UsageError(
                f"{what} is for the audit of rules; --step audits a file's step."
            )

    import torch

    from lbench.auditing.step_file import load_step
    from lbench.auditing.steps import audit

    torch.set_num_threads(1)
    found = load_step(text, seed=seed, say=lambda sentence: say(f"{sentence}\n", fg="yellow"))
    with contained(), Slow(text) as slow:
        report = audit(
            found.step,
            found.model,
            found.batch,
            units=found.units,
            predict=found.predict,
            claims=found.claims,
            progress=slow.show,
        )
    return _print(report, {"step": text}, picture, as_json=as_json)


def _print(report: Report, head: dict[str, Any], picture: Path | None, *, as_json: bool) -> int:
    """Print a report and draw its picture; return the exit code.

    Args:
        head: of the JSON.
    """
    from lbench.report.audit_text import show

    if picture is not None:
        from lbench.report.audit_picture import draw

        draw(report, picture)
    if as_json:
        print_json({**head, **report.as_json()})
    else:
        show(report)
        if picture is not None:
            click.echo(f"\nDrawn in {picture}.")
    return _exit_code([report])


def _table(names: Sequence[str], where: dict[str, Any], *, as_markdown: bool, as_json: bool) -> int:
    """Audit one rule after the other; a refusal has its reason in place of a report.

    Raises:
        UsageError: of the last rule, when none could be audited.
    """
    from lbench.auditing.rules import audit_rule
    from lbench.errors import UsageError
    from lbench.report import audit_table

    audits: dict[str, Report | str] = {}
    refused: UsageError | None = None
    for number, name in enumerate(names, start=1):
        say(f"{number} of {len(names)}: {name}\n")
        try:
            with contained(), Slow(name) as slow:
                audits[name] = audit_rule(name, **where, progress=slow.show)
        except UsageError as refusal:
            refused = refusal
            audits[name] = f"{refusal.message} {refusal.hint}".strip()
    if refused is not None and all(isinstance(report, str) for report in audits.values()):
        raise refused
    if as_json:
        print_json({"rules": audit_table.as_json(audits)})
    elif as_markdown:
        click.echo(audit_table.table(audits).markdown())
    else:
        audit_table.table(audits).print()
    return _exit_code([report for report in audits.values() if not isinstance(report, str)])


def _exit_code(reports: Sequence[Report]) -> int:
    """Return the exit code of the worst verdict."""
    verdicts = {report.verdict for report in reports}
    return next(code for verdict, code in EXIT_CODES.items() if verdict in verdicts)
