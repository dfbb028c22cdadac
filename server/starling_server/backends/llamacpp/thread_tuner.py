"""How many threads a small forward gets, on cores that something else may want too.

Threads wait for each other after every product, a hundred times a token: on free cores two are half as fast again as
one, but where one of them is not on a core they can be thirty times slower (docs/experiments.md, "Threads that wait").
So all are used for as long as they are not slower than one alone, and are tried again after a rest.
"""

from collections.abc import Callable
from time import monotonic

SLOWER = 1.5
"""Times what one thread takes: some more than a longer context makes of it, far less than a thread without a core."""
SHORTEST, LONGEST = 1.0, 32.0
"""Seconds of a rest: the first, and the longest that they grow to while every try fails."""


class ThreadTuner:
    """Chooses between one thread and `most` by what forwards took. Not thread-safe."""

    def __init__(self, most: int, clock: Callable[[], float] = monotonic) -> None:
        self._most, self._clock = most, clock
        self._alone: dict[int, float] = {}
        """Seconds of a forward by one thread, by its number of tokens."""
        self._until, self._rest = 0.0, SHORTEST

    def threads(self, tokens: int) -> int:
        """For a forward of so many tokens; one where it is not known yet what one takes."""
        return self._most if tokens in self._alone and self._clock() >= self._until else 1

    def took(self, tokens: int, threads: int, seconds: float) -> None:
        """Learn from a forward."""
        if threads == 1:
            known = self._alone.get(tokens, seconds)
            self._alone[tokens] = min(seconds, known + (seconds - known) / 4)
        elif seconds > SLOWER * self._alone[tokens]:
            self._until = self._clock() + self._rest
            self._rest = min(2 * self._rest, LONGEST)
        else:
            self._rest = max(SHORTEST, self._rest / 2)
