"""Ctrl-C ends a run at once while it reads; later the first one ends it early with a result, the second at once."""

import signal
from types import FrameType
from typing import Self


class Interrupt:
    """While it is entered, SIGINT sets `asked` and raises KeyboardInterrupt; after `soften` only the second one raises.

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
        """From here on ask first. Raises KeyboardInterrupt where one came before and was lost inside an import."""
        self._soft = True
        if self.asked:
            raise KeyboardInterrupt

    def _note(self, _signal: int, _frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        if again or not self._soft:
            raise KeyboardInterrupt
