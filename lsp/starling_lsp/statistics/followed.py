"""What becomes of a suggestion: shown, typed through, accepted, dismissed, and what of it is still there later.

Judged by the document alone, so that it works for every editor: a suggestion goes on as long as a beginning of it
stands at its place and nothing else was changed. Pure: no clock, no editor, no database.
"""

from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["accepted", "partly", "typed", "dismissed"]
CONTEXT = 64
"""Characters before a suggestion that must still be there."""


@dataclass(slots=True)
class Followed:
    """One suggestion, from its first answer on; the answers to keys that are typed along it belong to it."""

    language: str
    adapter: str | None
    base: str
    start: int
    """Index of its first character in the document."""
    length: int
    """Characters of the document before anything of it was there."""
    before: str
    """Up to `CONTEXT` characters before `start`."""
    text: str
    ids: set[str] = field(default_factory=set)
    was_shown: bool = False
    typed: int = 0
    """Characters of it that are in the document."""
    taken: int = 0
    """Characters that were accepted in parts."""
    outcome: Outcome | None = None

    def agrees(self, document: str) -> bool:
        """Whether it is still alive in `document`; notes how much of it is there."""
        typed = len(document) - self.length
        alive = (
            0 <= typed <= len(self.text)
            and document[max(0, self.start - len(self.before)) : self.start] == self.before
            and document.startswith(self.text[:typed], self.start)
        )
        self.typed = typed if alive else self.typed
        return alive

    def continues(self, start: int, text: str) -> bool:
        """Whether a suggestion of `text` at `start` is the rest of this one."""
        return start == self.start + self.typed and self.text[self.typed :] == text

    @property
    def whole(self) -> bool:
        """Whether all of it is in the document."""
        return self.typed == len(self.text)

    def kept(self, document: str) -> float:
        """The share of its characters whose lines are still in `document`, wherever they are now."""
        lines = [line.strip() for line in self.text.split("\n") if line.strip()]
        return sum(len(line) for line in lines if line in document) / max(1, sum(map(len, lines)))


def follow(language: str, adapter: str | None, base: str, document: str, start: int, text: str) -> Followed:
    """A suggestion of `text` at index `start` of `document`."""
    before = document[max(0, start - CONTEXT) : start]
    return Followed(language, adapter, base, start, len(document), before, text)


def ending(followed: Followed) -> Outcome:
    """What became of one that is over without having been accepted as a whole."""
    if followed.whole:
        return "partly" if followed.taken else "typed"
    return "partly" if followed.taken else "dismissed"
