"""Outcome of a suggestion: shown, typed through, accepted, dismissed, and the share that is kept later.

The outcome is derived from the document alone, so it works for every editor: a suggestion stays active as long as the
document has a prefix of it at its position and no other change. Pure: no clock, no editor, no database.
"""

from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["accepted", "partly", "typed", "dismissed"]
CONTEXT = 64
"""Number of characters before a suggestion that must be unchanged."""


@dataclass(slots=True)
class Followed:
    """One suggestion, from its first reply on; replies while the user types along it belong to the same one."""

    language: str
    adapter: str | None
    base: str
    start: int
    """Index of its first character in the document."""
    length: int
    """Length of the document in characters before the suggestion."""
    before: str
    """Up to `CONTEXT` characters before `start`."""
    text: str
    ids: set[str] = field(default_factory=set)
    was_shown: bool = False
    typed: int = 0
    """Number of its characters that are in the document."""
    taken: int = 0
    """Number of characters accepted by partial acceptance."""
    outcome: Outcome | None = None

    def agrees(self, document: str) -> bool:
        """Whether the suggestion is still active in `document`; updates `typed`."""
        typed = len(document) - self.length
        alive = (
            0 <= typed <= len(self.text)
            and document[max(0, self.start - len(self.before)) : self.start] == self.before
            and document.startswith(self.text[:typed], self.start)
        )
        self.typed = typed if alive else self.typed
        return alive

    def continues(self, start: int, text: str) -> bool:
        """Whether a suggestion of `text` at `start` is the remainder of this one."""
        return start == self.start + self.typed and self.text[self.typed :] == text

    @property
    def whole(self) -> bool:
        """Whether the whole suggestion is in the document."""
        return self.typed == len(self.text)

    def kept(self, document: str) -> float:
        """The share of its characters whose lines are still in `document`, at any position."""
        lines = [line.strip() for line in self.text.split("\n") if line.strip()]
        return sum(len(line) for line in lines if line in document) / max(1, sum(map(len, lines)))


def follow(language: str, adapter: str | None, base: str, document: str, start: int, text: str) -> Followed:
    """Follow a suggestion of `text` at index `start` of `document`."""
    before = document[max(0, start - CONTEXT) : start]
    return Followed(language, adapter, base, start, len(document), before, text)


def ending(followed: Followed) -> Outcome:
    """Outcome of a suggestion that ended without being accepted as a whole."""
    if followed.whole:
        return "partly" if followed.taken else "typed"
    return "partly" if followed.taken else "dismissed"
