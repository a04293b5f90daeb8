"""The abilities of a terminal: colours, redrawn lines, and its width."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

NARROWEST = 40
"""Columns that text and tables need; a narrower terminal wraps the lines itself."""
PROSE = 100
"""Columns of a paragraph, at most."""
DUMB = ("dumb", "unknown")
"""Values of ``TERM`` without escape sequences."""
FORCING = ("FORCE_COLOR", "CLICOLOR_FORCE")


def colour() -> bool | None:
    """Return whether the environment asks for colours; None leaves it to each stream.

    ``NO_COLOR`` (https://no-color.org) has precedence over ``FORCE_COLOR`` and ``CLICOLOR_FORCE``
    (https://bixense.com/clicolors); an empty value counts as none. A dumb terminal has no colours.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if any(os.environ.get(name, "0") not in ("", "0") for name in FORCING):
        return True
    return False if os.environ.get("TERM") in DUMB else None


def coloured(stream: TextIO) -> bool:
    """Return whether colours and bold type may be written to a stream."""
    wanted = colour()
    return stream.isatty() if wanted is None else wanted


def live(stream: TextIO) -> bool:
    """Return whether a line of the stream can be redrawn."""
    return stream.isatty() and os.environ.get("TERM") not in DUMB


def columns() -> int | None:
    """Return how many columns standard output has; None where it is not a terminal."""
    if not sys.stdout.isatty():
        return None
    return max(NARROWEST, shutil.get_terminal_size().columns)


def console(stream: TextIO, width: int | None = None) -> Console:
    """Return a console of rich that follows the same rules.

    Args:
        width: in columns; None for the terminal's own.
    """
    from rich.console import Console

    return Console(
        file=stream,
        width=width,
        highlight=False,
        markup=False,
        force_terminal=live(stream),
        color_system="standard" if coloured(stream) else None,
    )


def paragraph(text: str, *, indent: str = "", preserve: bool = False) -> str:
    """Return a text wrapped for standard output.

    Args:
        indent: of the lines after the first.
        preserve: whether empty lines separate paragraphs.
    """
    import click

    width = min(PROSE, columns() or PROSE)
    return click.wrap_text(text, width, "", indent, preserve_paragraphs=preserve)
