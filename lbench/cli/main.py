"""The command line; a command is imported when it is called, so that ``--help`` stays fast."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from lbench import __version__
from lbench.api.progress import say
from lbench.cli.streams import is_broken, protect
from lbench.containment import contain_the_rest
from lbench.errors import SYSTEM, LbenchError, did_you_mean, nearest, refused
from lbench.output.terminal import colour
from lbench.threads import wait_passively

COMMANDS = {
    "run": "Train a rule on a dataset",
    "tune": "Search the best options of a rule",
    "study": "Run a study and report its answer",
    "compare": "Compare configurations, with intervals",
    "report": "Write the report of a study",
    "rules": "List the rules, or show one",
    "datasets": "List the datasets, or show one",
    "networks": "List the networks, or show one",
    "studies": "List the studies, or show one",
    "probes": "List the probes, or show one",
    "plugins": "List the plugins, and why some are left out",
    "audit": "Measure what a rule's updates depend on",
    "check": "Check that a rule keeps what every rule promises",
    "new": "Write a package with a rule, dataset, network or probe to start from",
    "data": "Show which datasets are available, or decode them in advance",
    "ui": "Show the runs in the MLflow UI",
    "sync": "Rebuild the store from the run directories",
}


class Commands(click.Group):
    """The group of all commands; the module of a command has the command's name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which a new user needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"lbench.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of a name; the error for an unknown name suggests the nearest ones."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            message = f"No such command {args[0]!r}. {did_you_mean(nearest(args[0], COMMANDS))}"
            raise click.UsageError(message.rstrip(), ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="lbench")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Compare learning rules that train networks without, or with less, backpropagation.

    A configuration is rule, options, network, data and budget; a run is a configuration with a
    seed. CELL in a command stands for the id of a configuration.

    \b
    lbench run --rule lfnn_l --dataset digits
    lbench rules lfnn_l
    lbench study leadership --datasets digits --trials 20
    lbench compare lfnn_l/digits bp/digits
    lbench ui
    """


def main(args: list[str] | None = None) -> None:
    """Run a command and end the process with its exit code."""
    arguments = sys.argv[1:] if args is None else args
    protect()
    wait_passively()
    try:
        code = cli.main(arguments, prog_name="lbench", standalone_mode=False, color=colour())
        # An error of writing is reported here, and not by the interpreter when it ends.
        sys.stdout.flush()
    except (click.exceptions.Abort, KeyboardInterrupt):
        hint = "Everything up to the last checkpoint is saved."
        _fail(arguments, "interrupted", "Interrupted.", hint, 130)
    except click.ClickException as error:
        if "--json" not in arguments:
            error.show()
            sys.exit(error.exit_code)
        _fail(arguments, "usage", error.format_message(), "", error.exit_code)
    except LbenchError as error:
        _fail(arguments, error.kind, error.message, error.hint, error.exit_code)
    except OSError as error:
        if not _passed_on(error):
            _raised(arguments, error)
        # Such as a full disk or a directory without write permission: no fault of lbench.
        _fail(arguments, SYSTEM, refused(error), "", 1)
    except BaseException as error:
        # Also SystemExit: the exit code of a plugin is not that of lbench.
        _raised(arguments, error)
    contain_the_rest()
    sys.exit(code if isinstance(code, int) else 0)


def _passed_on(error: OSError) -> bool:
    from lbench.training.plugin_errors import outside_plugins

    return outside_plugins(error)


def _raised(arguments: Sequence[str], error: BaseException) -> NoReturn:
    """Report an error that lbench does not expect, with the line of a plugin that raised it."""
    from lbench.training.plugin_errors import plugin_line

    message, where = f"{type(error).__name__}: {error}", plugin_line(error)
    hint = "This is a fault of lbench or a plugin; see the traceback with: lbench --debug …"
    if where is not None:
        message = f"{message} ({where})"
        hint = "The code of a plugin raised it; see the traceback with: lbench --debug …"
    _fail(arguments, "internal", message, hint, 1)


def _fail(arguments: Sequence[str], kind: str, message: str, hint: str, code: int) -> NoReturn:
    """Report the error that is being handled and end the process."""
    if "--debug" in arguments:
        traceback.print_exc()
    as_json = "--json" in arguments
    if as_json:
        with contextlib.suppress(OSError):
            click.echo(json.dumps({"error": {"kind": kind, "message": message, "hint": hint}}))
    if not as_json or is_broken(sys.stdout):
        say(f"Error: {message}\n", fg="red")
        if hint:
            say(f"{hint}\n")
    sys.exit(code)
