"""How long to wait for the next key before asking the model."""

from collections.abc import Callable
from time import monotonic

WAITS_ITSELF = ("neovim",)
"""Clients, by `clientInfo.name` in lower case, that hold requests back until typing pauses (Neovim: 200 ms)."""
LEAST_MS, MOST_MS = 75.0, 150.0
SMOOTHING = 0.3


class Debounce:
    """Adapts to the typist and to the model: about one key's interval, less the time that answers take anyway.

    Never less than `LEAST_MS`: without a wait a slow model would be set to work by every key of a burst.
    """

    def __init__(self, client: str, fixed_ms: int = -1, clock: Callable[[], float] = monotonic) -> None:
        self._fixed = 0 if fixed_ms < 0 and client.lower() in WAITS_ITSELF else fixed_ms
        self._clock = clock
        self._last_key: float | None = None
        self._interval_ms = MOST_MS
        self._answer_ms = 0.0

    def key(self) -> None:
        """Note a request made by typing."""
        now = self._clock()
        if self._last_key is not None:
            self._interval_ms += SMOOTHING * (min((now - self._last_key) * 1e3, MOST_MS) - self._interval_ms)
        self._last_key = now

    def answered(self, milliseconds: float) -> None:
        """Note how long the model took."""
        self._answer_ms += SMOOTHING * (milliseconds - self._answer_ms)

    @property
    def seconds(self) -> float:
        """How long to wait now."""
        if self._fixed >= 0:
            return self._fixed / 1e3
        return max(LEAST_MS, min(self._interval_ms, MOST_MS) - self._answer_ms) / 1e3
