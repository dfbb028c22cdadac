"""Cached suggestions, so that typing along one does not run the model.

An answer stays valid while the text after the cursor is the same and the text before it agrees: the user typed the
suggestion's first characters, or accepted part of it. Before the position that an answer was made for it is not valid:
it continues text that the user has deleted.
"""

import sys
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic

from starling_server.owners import outgoing


@dataclass(frozen=True, slots=True)
class Remembered:
    """An answer and the position that it was given at."""

    scope: tuple[object, ...]
    """Everything else that the answer depends on: session, adapter, mode, length."""
    prefix: str
    suffix: str
    text: str
    client: str = ""
    """The client whose share of the cache it uses."""
    since: float = field(default_factory=monotonic, compare=False)

    @property
    def nbytes(self) -> int:
        """Memory that it takes, including all of its strings."""
        return sum(map(sys.getsizeof, (self.prefix, self.suffix, self.text, repr(self.scope))))


class Recall:
    """The newest answers, bounded in number and in bytes. Thread-safe: the worker adds, the event loop reads."""

    def __init__(self, most: int = 64, most_bytes: int = 16 << 20) -> None:
        """The newest answer is kept whatever its size."""
        self._answers = list[Remembered]()
        self._sizes = list[int]()
        """Bytes of each answer."""
        self._most, self._most_bytes = most, most_bytes
        self._lock = Lock()

    @property
    def nbytes(self) -> int:
        """Memory that all answers take."""
        return sum(self._sizes)

    def add(self, answer: Remembered) -> None:
        """Cache `answer`, and evict older ones where there are too many or too many bytes (`owners.outgoing`)."""
        size = answer.nbytes
        with self._lock:
            self._answers.append(answer)
            self._sizes.append(size)
            while len(self._answers) > 1 and (len(self._answers) > self._most or self.nbytes > self._most_bytes):
                self._forget()

    def find(self, scope: tuple[object, ...], prefix: str, suffix: str) -> str | None:
        """The cached suggestion at this position, by the newest answer that leads to it; None where none does."""
        with self._lock:
            newest_first = [a for a in reversed(self._answers) if a.scope == scope and a.suffix == suffix]
        found = (continuation(answer, prefix) for answer in newest_first)
        return next((text for text in found if text is not None), None)

    def newest(self, scope: tuple[object, ...], most: int) -> list[str]:
        """The last answers given in `scope`, newest last."""
        with self._lock:
            return [answer.text for answer in self._answers if answer.scope == scope and answer.text][-most:]

    def _forget(self) -> None:
        clients = [answer.client for answer in self._answers]
        at = outgoing(clients, self._sizes, monotonic() - self._answers[0].since)
        del self._answers[at], self._sizes[at]


def continuation(answer: Remembered, prefix: str) -> str | None:
    """The rest of `answer` at `prefix`; None where the two disagree, nothing is left, or `prefix` ends before it."""
    typed = len(prefix) - len(answer.prefix)
    if typed == 0:
        return answer.text if prefix == answer.prefix else None
    goes_on = 0 < typed < len(answer.text) and prefix.endswith(answer.text[:typed])
    return answer.text[typed:] if goes_on and prefix.startswith(answer.prefix) else None
