"""Suggestions that are still known, so that typing along one costs no model.

An answer stays right while the text after the cursor is the same and the text before it agrees: the user typed the
suggestion's first characters (or accepted part of it), or took back some that were typed before it was asked for.
"""

from collections import deque
from dataclasses import dataclass
from threading import Lock

MAX_BACKSPACE = 40
"""Characters that may be taken back; further than that the suggestion was for something else."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """An answer and the place that it was given for."""

    scope: tuple[object, ...]
    """Everything else that the answer depends on: session, adapter, mode, length."""
    prefix: str
    suffix: str
    text: str


class Recall:
    """The newest answers, bounded in number and in characters. Thread-safe: the worker adds, the event loop asks."""

    def __init__(self, most: int = 64, most_chars: int = 8_000_000) -> None:
        self._answers: deque[Remembered] = deque(maxlen=most)
        self._most_chars = most_chars
        self._lock = Lock()

    def add(self, answer: Remembered) -> None:
        """Remember `answer`, and forget the oldest where they grow too large."""
        with self._lock:
            self._answers.append(answer)
            while len(self._answers) > 1 and self._chars() > self._most_chars:
                self._answers.popleft()

    def find(self, scope: tuple[object, ...], prefix: str, suffix: str) -> str | None:
        """What to suggest here as far as memory tells, None where it does not.

        An answer that was given here or before goes before one that was given further on and looked ahead to: what a
        person reads while typing along must not grow under their hands.
        """
        with self._lock:
            newest_first = [a for a in reversed(self._answers) if a.scope == scope and a.suffix == suffix]
        found = ((answer, continuation(answer, prefix)) for answer in newest_first)
        known = [(len(answer.prefix) > len(prefix), text) for answer, text in found if text is not None]
        return min(known, key=lambda pair: pair[0])[1] if known else None

    def newest(self, scope: tuple[object, ...], most: int) -> list[str]:
        """The last answers given in `scope`, the newest last."""
        with self._lock:
            return [answer.text for answer in self._answers if answer.scope == scope and answer.text][-most:]

    def _chars(self) -> int:
        return sum(len(a.prefix) + len(a.suffix) + len(a.text) for a in self._answers)


def continuation(answer: Remembered, prefix: str) -> str | None:
    """What is left of `answer` at `prefix`; None where the two disagree or nothing is left of it."""
    typed = len(prefix) - len(answer.prefix)
    if typed == 0:
        return answer.text if prefix == answer.prefix else None
    if typed > 0:
        goes_on = typed < len(answer.text) and prefix.endswith(answer.text[:typed])
        return answer.text[typed:] if goes_on and prefix.startswith(answer.prefix) else None
    taken_back = answer.prefix[typed:]
    near = -typed <= MAX_BACKSPACE and "\n" not in taken_back and answer.text
    return taken_back + answer.text if near and answer.prefix.startswith(prefix) else None
