"""Which runs belong to a study: one JSON object a line, from which the record can be rebuilt."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, fields

from lbench.home import Home
from lbench.store.rows import Member

NAMES = {field.name for field in fields(Member)}


class Journal:
    """``studies/NAME/members.jsonl``: a place that is written again moves to the run given last."""

    def __init__(self, home: Home, study: str) -> None:
        self.path = home.studies / study / "members.jsonl"
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
        """The places, oldest first; a line that was cut short is left out."""
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                content = json.loads(line)
            except ValueError:
                continue
            if isinstance(content, dict) and set(content) == NAMES:
                yield Member(**content)


def journals(home: Home) -> Iterator[Journal]:
    """Of every study of a home."""
    for path in sorted(home.studies.glob("*/members.jsonl")):
        yield Journal(home, path.parent.name)


def _line(member: Member) -> str:
    return json.dumps(asdict(member)) + "\n"


def _place(member: Member) -> tuple[str, str, str, int, int]:
    return member.point, member.search, member.role, member.trial, member.seed
