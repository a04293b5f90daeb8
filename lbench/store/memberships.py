"""The memberships of a study: its runs, one JSON object per line, for rebuilding the record."""

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
"""Largest number of unreadable lines that a sentence lists."""


class Memberships:
    """The file ``studies/NAME/members.jsonl``; of two lines with one key the last counts."""

    def __init__(self, home: Home, study: str) -> None:
        self.path = home.studies / study / "members.jsonl"
        self._skipped: list[int] = []
        self._known = {_key(member): member for member in self.read()}

    def add(self, member: Member) -> bool:
        """Append a member; return False if the file has it already."""
        if self._known.get(_key(member)) == member:
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            # A line that was cut short is ended, so that the new one is a line of its own.
            file.write(_line(member) if self._ends_with_a_newline() else "\n" + _line(member))
        self._known[_key(member)] = member
        return True

    def _ends_with_a_newline(self) -> bool:
        with self.path.open("rb") as file:
            if not file.seek(0, os.SEEK_END):
                return True
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def read(self) -> Iterator[Member]:
        """Yield the members, oldest first, without lines that cannot be read.

        Raises:
            DamagedError: the file cannot be read.
        """
        try:
            text = read_bytes(self.path) or b""
        except DeniedError:
            raise
        except DamagedError as error:
            hint = f"Move {self.path} away: the record has its lines too."
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
        """Return a sentence about lines that the last read left out; "" if there are none."""
        if not (numbers := self._skipped):
            return ""
        shown = ", ".join(map(str, numbers[:SHOWN])) + (", …" if len(numbers) > SHOWN else "")
        verb = "is" if len(numbers) == 1 else "are"
        return (
            f"{self.path}: {counted(len(numbers), 'line')} cannot be read and {verb} left out "
            f"(line {shown}); the runs themselves are not touched."
        )


def studies_with_memberships(home: Home) -> list[str]:
    """Return the names of studies that have the file, or whose folder may not be read.

    Raises:
        OSError: the studies cannot be listed.
    """
    if not home.studies.exists():
        return []
    return sorted(folder.name for folder in home.studies.iterdir() if _has_file(folder))


def _has_file(folder: Path) -> bool:
    try:
        return (folder / "members.jsonl").exists()
    except PermissionError:
        return True


def _line(member: Member) -> str:
    return json.dumps(asdict(member)) + "\n"


def _key(member: Member) -> tuple[str, str, str, int, int]:
    return member.point, member.search, member.role, member.trial, member.seed
