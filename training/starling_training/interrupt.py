"""Ctrl-C once asks a run to end soon with what it has; twice ends it at once with nothing."""

import signal
from types import FrameType
from typing import Self


class Interrupt:
    """While it is entered, the first SIGINT sets `asked` and the second raises KeyboardInterrupt. Main thread only."""

    def __init__(self) -> None:
        self.asked = False
        self._before: signal.Handlers | object = None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)  # pyright: ignore[reportArgumentType]

    def _note(self, _signal: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
