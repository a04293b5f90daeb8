"""What an answer is, and the words that all answers use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

UNDECIDED = "Undecided"
"""What a sentence begins with where the data do not decide."""


BEGINNINGS = (
    "a", "all", "every", "in", "no", "of", "on", "over", "the", "whether",
)  # fmt: skip
"""What a sentence may begin with besides names."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a study's question.

    Args:
        sentence: with its interval and its n; begins with :data:`UNDECIDED` where that is so.
        details: one sentence each, in order.
        data: the numbers behind them, as JSON takes them.
    """

    sentence: str
    details: Sequence[str] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {"sentence": self.sentence, "details": list(self.details), "data": dict(self.data)}


def joined(parts: Sequence[str], *, word: str = "and", most: int = 6) -> str:
    """``a, b and c``; beyond ``most`` the rest is counted."""
    if len(parts) > most:
        parts = [*parts[: most - 1], f"{len(parts) - most + 1} more"]
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}"


def capital(text: str) -> str:
    """The first letter large where a sentence begins with a word, and not with a name."""
    first = text.partition(" ")[0].rstrip(",:")
    return text[:1].upper() + text[1:] if first in BEGINNINGS else text
