"""Number of threads for a small forward, on cores shared with other processes.

Threads synchronise after every product, a hundred times per token. On idle cores two threads are 1.5 times as fast as
one; if one of them is descheduled, they can be thirty times slower (docs/experiments.md, "Threads that wait").
So all threads are used until they are slower than a single one, and are tried again after a pause.
"""

from collections.abc import Callable
from time import monotonic

SLOWER = 1.5
"""Slowdown, relative to one thread, that counts as contention: above the effect of a longer context, and far below that
of a thread without a core."""
SHORTEST, LONGEST = 1.0, 32.0
"""Pause in seconds: the first one, and the max that it grows to while every retry fails."""


class ThreadTuner:
    """Chooses between one thread and `most` threads from measured forward times. Not thread-safe."""

    def __init__(self, most: int, clock: Callable[[], float] = monotonic) -> None:
        self._most, self._clock = most, clock
        self._alone: dict[int, float] = {}
        """Seconds of a forward with one thread, keyed by its number of tokens."""
        self._until, self._rest = 0.0, SHORTEST

    def threads(self, tokens: int) -> int:
        """Threads for a forward of `tokens` tokens; one until the time with one thread has been measured."""
        return self._most if tokens in self._alone and self._clock() >= self._until else 1

    def took(self, tokens: int, threads: int, seconds: float) -> None:
        """Record the time of a forward."""
        if threads == 1:
            known = self._alone.get(tokens, seconds)
            self._alone[tokens] = min(seconds, known + (seconds - known) / 4)
        elif seconds > SLOWER * self._alone[tokens]:
            self._until = self._clock() + self._rest
            self._rest = min(2 * self._rest, LONGEST)
        else:
            self._rest = max(SHORTEST, self._rest / 2)
