"""Which runs belong to a study: one JSON object a line, from which the record can be rebuilt."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

import pydantic

from lbench.errors import DamagedError, DeniedError
from lbench.home import Home
from lbench.plurals import counted
from lbench.rundir import read_bytes
from lbench.store.rows import Member

MEMBER = pydantic.TypeAdapter(Member)
NAMES = {field.name for field in fields(Member)}


SHOWN = 5
"""Numbers of lines that cannot be read, in a sentence."""


class Journal:
    """``studies/NAME/members.jsonl``: a place that is written again moves to the run given last."""

    def __init__(self, home: Home, study: str) -> None:
        self.path = home.studies / study / "members.jsonl"
        self._skipped: list[int] = []
        self._known = {_place(member): member for member in self.read()}

    def add(self, member: Member) -> bool:
        """Appends a place; False when it stands there as it is now."""
        if self._known.get(_place(member)) == member:
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            # A line that was cut short is ended, so that this one stands alone.
            file.write(_line(member) if self._whole() else "\n" + _line(member))
        self._known[_place(member)] = member
        return True

    def _whole(self) -> bool:
        with self.path.open("rb") as file:
            if not file.seek(0, os.SEEK_END):
                return True
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def read(self) -> Iterator[Member]:
        """The places, oldest first; a line that cannot be read, as one cut short, is left out.

        Raises:
            DamagedError: the file cannot be read.
        """
        try:
            text = read_bytes(self.path) or b""
        except DeniedError:
            raise
        except DamagedError as error:
            hint = f"Move {self.path} away: its lines are in the record too."
            raise DamagedError(error.message, hint) from None
        self._skipped = []
        for number, line in enumerate(text.splitlines(), start=1):
            try:
                if set(json.loads(line.decode())) == NAMES:
                    yield MEMBER.validate_json(line, strict=True)
                    continue
            except (ValueError, TypeError, RecursionError):  # pydantic's error is a ValueError
                pass
            if line.strip():
                self._skipped.append(number)

    @property
    def skipped(self) -> str:
        """The sentence for lines that were left out when it was read last; "" for none."""
        if not (numbers := self._skipped):
            return ""
        shown = ", ".join(map(str, numbers[:SHOWN])) + (", …" if len(numbers) > SHOWN else "")
        verb = "is" if len(numbers) == 1 else "are"
        return (
            f"{self.path}: {counted(len(numbers), 'line')} cannot be read and {verb} left out "
            f"(line {shown}); the runs themselves are not touched."
        )


def journals(home: Home) -> list[str]:
    """The names of the studies that have one, or whose folder may not be looked into.

    Raises:
        OSError: the studies cannot be listed.
    """
    if not home.studies.exists():
        return []
    return sorted(folder.name for folder in home.studies.iterdir() if _has_journal(folder))


def _has_journal(folder: Path) -> bool:
    try:
        return (folder / "members.jsonl").exists()
    except PermissionError:
        return True


def _line(member: Member) -> str:
    return json.dumps(asdict(member)) + "\n"


def _place(member: Member) -> tuple[str, str, str, int, int]:
    return member.point, member.search, member.role, member.trial, member.seed
