"""``lbench check``: the conformance kits on installed rules, datasets, networks and probes."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lbench.api.progress import say
from lbench.cli.common import data_dir_option, json_option, plugin_option, print_json
from lbench.containment import contained
from lbench.errors import PluginError, UsageError, unknown
from lbench.output.table import Table
from lbench.output.terminal import live
from lbench.registry import Registry, registry

if TYPE_CHECKING:
    from lbench.testing import Outcome

EVERYTHING = "all"
WORDS = {"expected": "expected failure"}


def _complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    names = [EVERYTHING, *registry().rules]
    return [name for name in names if name.startswith(incomplete)]


@click.command(name="check")
@click.argument("name", metavar="[NAME_OR_PACKAGE]", required=False, shell_complete=_complete)
@click.option("--dataset", metavar="NAME", help="Check this dataset instead of a rule.")
@click.option("--network", metavar="NAME", help="Check this network.")
@click.option("--probe", metavar="NAME", help="Check this probe.")
@click.option("--quick", is_flag=True, help="One network where the full form takes all.")
@click.option("--set", "config", multiple=True, metavar="NAME=VALUE", help="An option of it.")
@data_dir_option
@plugin_option
@json_option
def command(
    name: str | None,
    dataset: str | None,
    network: str | None,
    probe: str | None,
    quick: bool,
    config: tuple[str, ...],
    data_dir: Path | None,
    as_json: bool,
) -> int:
    """Check that a rule, dataset, network or probe has the properties that all of them have.

    NAME_OR_PACKAGE is a rule, a plugin or a distribution (all its rules), or all. The exit code is
    1 if a check fails. Plugins check themselves with lbench.testing.RuleConformance and the like.

    \b
    lbench check lfnn_l
    lbench check lfnn_l --set leadership=0.5 --quick
    lbench check lbench_lfnn
    lbench check all --quick
    lbench check mine --plugin mine.py
    lbench check --network resnet8
    """
    parts = {"dataset": dataset, "network": network, "probe": probe}
    chosen = [(kind, value) for kind, value in parts.items() if value is not None]
    if len(chosen) + (name is not None) != 1:
        raise UsageError(
            "lbench check takes one thing: a rule, a dataset, a network or a probe.",
            "For example: lbench check lfnn_l, or lbench check --network resnet8",
        )
    if name is None:
        report = _check_part(*chosen[0], config, data_dir)
        if as_json:
            print_json([report])
        else:
            _show(report)
        return 1 if report["failed"] else 0
    names = rules_of(name, registry())
    if config and len(names) > 1:
        raise UsageError(
            f"--set gives options to one rule, but {name!r} has {len(names)}: {', '.join(names)}.",
            "Name one of them.",
        )
    from lbench.training.cell import parse_settings

    options = parse_settings(config, "--set")
    reports = [_check(rule, options, quick=quick, alone=len(names) == 1) for rule in names]
    if as_json:
        print_json(reports)
    else:
        for report in reports:
            _show(report)
    failing = [report["rule"] for report in reports if report["failed"]]
    if failing and not as_json:
        click.secho(f"Failing: {', '.join(failing)}", fg="red")
    return 1 if failing else 0


def rules_of(name: str, known: Registry) -> list[str]:
    """Return the rules that a name stands for: of a rule, plugin, module or distribution.

    Raises:
        UsageError: the name is unknown, or it brings no rules.
        PluginError: the plugin was left out.
    """
    if name == EVERYTHING:
        return list(known.rules)
    if name in known.rules:
        return [name]
    plugins = [each for each in known.plugins if name in (each.name, each.module)] or [
        each for each in known.plugins if name == each.distribution
    ]
    for plugin in plugins:
        if plugin.error:
            raise PluginError(
                f"Plugin {plugin.name!r} was left out. {plugin.error}",
                "See all plugins with: lbench plugins",
            )
    if not plugins:
        everyone = {p for each in known.plugins for p in (each.name, each.module)}
        names = [*known.rules, *sorted(everyone - set(known.rules)), EVERYTHING]
        listing = "List them with: lbench rules, lbench plugins"
        raise unknown("rule or plugin", name, names, listing=listing)
    brought = [rule for plugin in plugins for rule in plugin.brings.get("rules", [])]
    if not brought:
        raise UsageError(
            f"Plugin {name!r} brings no rules.", "See what each brings with: lbench plugins"
        )
    return brought


@contained()
def _check(rule: str, options: dict[str, str], *, quick: bool, alone: bool) -> dict[str, Any]:
    """Run every check of a rule; a rule that cannot be loaded fails a check that says so."""
    import torch

    from lbench.testing import CHECKS, Outcome, Subject, conform

    torch.set_num_threads(1)  # the networks are so small that a second thread only waits
    began = time.perf_counter()
    try:
        subject = Subject(rule, options, quick=quick)
        _ = subject.config  # a wrong option is the user's mistake, not the rule's
    except PluginError as error:
        if alone:
            raise
        outcomes = [Outcome("loads", "failed", error.message)]
    else:
        outcomes = []
        with _Line(rule, len(CHECKS)) as line:
            line.show(CHECKS[0].name)
            for outcome in conform(subject):
                outcomes.append(outcome)
                line.show(CHECKS[len(outcomes)].name if len(outcomes) < len(CHECKS) else "")
    form = "quick" if quick else "full"
    return _report({"rule": rule, "form": form, "options": options}, outcomes, began)


@contained()
def _check_part(
    kind: str, name: str, config: tuple[str, ...], data_dir: Path | None
) -> dict[str, Any]:
    """Check a dataset, network or probe, and return the report."""
    import torch

    from lbench.testing import PART_CHECKS, SUBJECTS, conform_part
    from lbench.training.cell import parse_settings

    torch.set_num_threads(1)
    began, options = time.perf_counter(), parse_settings(config, "--set")
    subject = SUBJECTS[kind](name, options, data_dir)
    checks, outcomes = PART_CHECKS[kind], []
    with _Line(name, len(checks)) as line:
        line.show(checks[0].name)
        for outcome in conform_part(kind, subject):
            outcomes.append(outcome)
            line.show(checks[len(outcomes)].name if len(outcomes) < len(checks) else "")
    return _report({kind: name, "form": "full", "options": options}, outcomes, began)


def _report(head: dict[str, Any], outcomes: Sequence[Outcome], began: float) -> dict[str, Any]:
    """Return the outcomes of checks with their counts, behind the fields in ``head``."""
    counts = Counter(outcome.status for outcome in outcomes)
    return {
        **head,
        "failed": counts["failed"],
        "passed": counts["passed"],
        "expected": counts["expected"],
        "skipped": counts["skipped"],
        "seconds": round(time.perf_counter() - began, 3),
        "checks": [
            {
                "name": outcome.check,
                "status": outcome.status,
                "detail": outcome.detail,
                "seconds": round(outcome.seconds, 3),
            }
            for outcome in outcomes
        ],
    }


class _Line:
    """Which check is at work: a live line on a terminal, elsewhere a line a rule.

    Args:
        rule: the name of the rule.
        total: how many checks there are.
    """

    def __init__(self, rule: str, total: int) -> None:
        self.rule = rule
        self.total = total
        self.done = 0
        self.width = 0
        self.live = live(sys.stderr)

    def __enter__(self) -> _Line:
        if not self.live:
            say(f"Checking {self.rule}: {self.total} checks\n")
        return self

    def show(self, check: str) -> None:
        """Show the check that begins."""
        if self.live and check:
            text = f"{self.rule}  {self.done}/{self.total}  {check}"
            say("\r" + text.ljust(self.width))
            self.width = len(text)
        self.done += 1

    def __exit__(self, *_: object) -> None:
        if self.width:
            say("\r" + " " * self.width + "\r")


def _show(report: dict[str, Any]) -> None:
    rows = [
        [each["name"], WORDS.get(each["status"], each["status"]), each["detail"]]
        for each in report["checks"]
    ]
    Table(next(iter(report.values())), ["check", "", ""], rows).print()
    parts = [
        f"{report[status]} {word}"
        for status, word in (
            ("passed", "passed"), ("failed", "failed"), ("expected", "expected to fail"),
            ("skipped", "skipped"),
        )
        if report[status] or status == "passed"
    ]  # fmt: skip
    colour = "red" if report["failed"] else "green"
    click.secho(
        f"{', '.join(parts)} in {report['seconds']:.1f} s ({report['form']} form)\n", fg=colour
    )
