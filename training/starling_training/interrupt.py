"""Ctrl-C handling: it ends a run at once while sources are read; later, the first ends it early and keeps the result.

A second Ctrl-C then ends the run at once.
"""

import signal
from types import FrameType
from typing import Self


class Interrupt:
    """Context manager: SIGINT sets `asked` and raises KeyboardInterrupt; after `soften`, only the second SIGINT raises.

    Main thread only.
    """

    def __init__(self) -> None:
        self.asked = False
        self._soft = False
        self._before: signal.Handlers | object = None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)  # pyright: ignore[reportArgumentType]

    def soften(self) -> None:
        """Only set `asked` on the next SIGINT. Raises KeyboardInterrupt if an earlier one was lost inside an import."""
        self._soft = True
        if self.asked:
            raise KeyboardInterrupt

    def _note(self, _signal: int, _frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        if again or not self._soft:
            raise KeyboardInterrupt
