"""``lbench audit``: measure what updates depend on, and compare it with the claims."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lbench.api.progress import DelayedProgress, say
from lbench.cli.common import json_option, plugin_option, print_json
from lbench.containment import contained

if TYPE_CHECKING:
    from lbench.auditing.report import Report

EXIT_CODES = {"contradicted": 5, "not measurable": 6, "measured": 0, "as claimed": 0}
"""Exit codes by the verdict of a report, the worst verdict first."""


@click.command(name="audit")
@click.argument("rules", nargs=-1, metavar="[RULE]...")
@click.option(
    "--set",
    "config",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of the rule; may be repeated.",
)
@click.option(
    "--network",
    metavar="NAME",
    default="mlp",
    show_default=True,
    help="Network; see: lbench networks",
)
@click.option(
    "--net",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of the network; may be repeated.",
)
@click.option(
    "--blocks",
    type=click.IntRange(1),
    metavar="K",
    help="Group the network's layers into K blocks.",
)
@click.option(
    "--dropout",
    type=click.FloatRange(0, 0.9),
    metavar="SHARE",
    default=0.0,
    show_default=True,
    help="Dropout at the output of each block.",
)
@click.option(
    "--seed",
    type=int,
    metavar="N",
    default=0,
    show_default=True,
    help="Seed of weights, data and noise.",
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also draw the audit as a .svg, .png or .pdf file.",
)
@click.option(
    "--markdown", "as_markdown", is_flag=True, help="Print the table of rules as markdown."
)
@click.option(
    "--step",
    metavar="FILE.py:FUNCTION",
    help="Audit a training step in place of a rule: the function FUNCTION(model, batch) of a file "
    "that also defines the variables model and batch.",
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
    """Measure what a rule's updates depend on, and compare it with the rule's claims.

    The audit trains copies of a small network of the named family for a few steps, in float64. It
    measures whose weights reach whose update, which block waits for which, which state is
    written, and whether labels leak into predictions. With several rules it prints a table;
    without a name it audits every installed rule. The exit code is 5 if a claim is contradicted,
    else 6 if a claim could not be measured.

    \b
    lbench audit lfnn_l
    lbench audit bp --network resnet --picture bp.svg
    lbench audit lfnn_l --network cnn --net norm=group --set selection=example
    lbench audit fa dfa pepita
    lbench audit --step audit_net.py:step
    """
    # Names are checked before torch is imported, so that errors appear at once.
    if picture is not None and picture.suffix not in (".svg", ".png", ".pdf"):
        raise click.BadParameter(
            f"the file must end in .svg, .png or .pdf, not {picture.suffix or 'nothing'!r}",
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
        raise click.UsageError("--set and --picture are for the audit of one rule; name one rule.")
    if as_markdown and as_json:
        raise click.UsageError("--markdown and --json are two ways to print; give one of them.")
    if as_markdown and picture:
        raise click.UsageError(
            "--picture draws one audit, --markdown prints a table; give one of them."
        )
    import torch

    from lbench.training.cell import parse_settings

    torch.set_num_threads(1)  # the networks are so small that a second thread only waits
    settings: dict[str, Any] = {
        "config": parse_settings(config, "--set"),
        "network": network,
        "network_options": parse_settings(net, "--net"),
        "blocks": blocks,
        "dropout": dropout,
        "seed": seed,
    }
    if len(names) > 1 or as_markdown:
        return _table(names, settings, as_markdown=as_markdown, as_json=as_json)

    from lbench.auditing.rules import audit_rule

    (rule,) = names
    with contained(), DelayedProgress(rule) as display:
        report = audit_rule(rule, **settings, progress=display.show)
    head = {"rule": rule, "config": report.config}
    return _print(report, head, picture, as_json=as_json)


def _step(text: str, seed: int, picture: Path | None, *, as_json: bool) -> int:
    """Audit the training step of a file.

    Raises:
        click.UsageError: an option was given that is only for rules.
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        is_given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if (
            is_given
            and name not in ("step", "seed", "picture", "as_json")
            and context.params.get(name, True)
        ):
            argument = "A rule's name" if name == "rules" else parameter.opts[0]
            raise click.UsageError(
                f"{argument} is for the audit of rules; --step audits the step of a file."
            )

    import torch

    from lbench.auditing.step_file import load_step
    from lbench.auditing.steps import audit

    torch.set_num_threads(1)
    subject = load_step(text, seed=seed, say=lambda sentence: say(f"{sentence}\n", fg="yellow"))
    with contained(), DelayedProgress(text) as display:
        report = audit(
            subject.step,
            subject.model,
            subject.batch,
            units=subject.units,
            predict=subject.predict,
            claims=subject.claims,
            progress=display.show,
        )
    return _print(report, {"step": text}, picture, as_json=as_json)


def _print(report: Report, head: dict[str, Any], picture: Path | None, *, as_json: bool) -> int:
    """Print a report and draw its picture; return the exit code.

    Args:
        report: the report of an audit.
        head: the first entries of the JSON object.
        picture: file of the picture; None draws none.
        as_json: print JSON.
    """
    from lbench.audit_pages.text import show

    if picture is not None:
        from lbench.audit_pages.picture import draw

        draw(report, picture)
    if as_json:
        print_json({**head, **report.as_json()})
    else:
        show(report)
        if picture is not None:
            click.echo(f"\nPicture: {picture}")
    return _exit_code([report])


def _table(
    names: Sequence[str], settings: dict[str, Any], *, as_markdown: bool, as_json: bool
) -> int:
    """Audit several rules and print a table; the row of a refused rule has the reason.

    Args:
        names: names of the rules.
        settings: arguments of ``audit_rule``.
        as_markdown: print the table as markdown.
        as_json: print JSON.

    Returns:
        The exit code.

    Raises:
        UsageError: no rule could be audited; the error is that of the last rule.
    """
    from lbench.audit_pages import table as audit_table
    from lbench.auditing.rules import audit_rule
    from lbench.errors import UsageError

    audits: dict[str, Report | str] = {}
    refused: UsageError | None = None
    for number, name in enumerate(names, start=1):
        say(f"{number} of {len(names)}: {name}\n")
        try:
            with contained(), DelayedProgress(name) as display:
                audits[name] = audit_rule(name, **settings, progress=display.show)
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
