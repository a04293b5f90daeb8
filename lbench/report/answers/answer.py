"""An answer, and the words that all answers use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

UNDECIDED = "Undecided"
"""The first word of a sentence where the data do not decide."""
NO_AXIS = f"{UNDECIDED}: no two values of an axis have a finished run."
SHOWN = 4
"""Sentences of groups in an answer; the details have the others."""
BEGINNINGS = (
    "a", "all", "every", "in", "no", "of", "on", "over", "the", "whether",
)  # fmt: skip
"""Words, besides names, with which a sentence may begin."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a study's question.

    Args:
        sentence: with its interval and its n; begins with :data:`UNDECIDED` where that is so.
        details: sentences, in order.
        data: the numbers behind them, as JSON takes them.
    """

    sentence: str
    details: Sequence[str] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return {"sentence": self.sentence, "details": list(self.details), "data": dict(self.data)}


def joined(parts: Sequence[str], *, word: str = "and", most: int = 6) -> str:
    """Return ``a, b and c``; beyond ``most`` the rest is counted."""
    if len(parts) > most:
        parts = [*parts[: most - 1], f"{len(parts) - most + 1} more"]
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}"


def capital(text: str) -> str:
    """Return a text with a capital first letter, unless it begins with a name."""
    first = text.partition(" ")[0].rstrip(",:")
    return text[:1].upper() + text[1:] if first in BEGINNINGS else text


def sentences(texts: Sequence[str]) -> list[str]:
    """Return texts as sentences, with a capital letter and a full stop."""
    return [f"{capital(text)}." for text in texts]
