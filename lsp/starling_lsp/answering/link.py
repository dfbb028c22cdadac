"""Connection to the completer: loads the model or finds the server, and reconnects after a loss."""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from starling_lsp.answering.completer import Completer
from starling_lsp.options import AUTO, Options
from starling_lsp.status import Status
from starling_server.errors import RequestError, StarlingError
from starling_server.garbage import freeze_loaded

log = logging.getLogger(__name__)
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
Progress = Callable[[], AbstractAsyncContextManager[None]]
"""Context manager that shows loading progress in the editor."""
Connect = Callable[[Options, Sequence[Path]], Awaitable[Completer]]
"""Returns a ready completer for these options and workspace folders; raises StarlingError."""


def waits() -> Iterator[float]:
    """Seconds between retries, without end: doubled each time, up to half a minute."""
    wait = FIRST_WAIT
    while True:
        yield wait
        wait = min(2 * wait, LONGEST_WAIT)


class Link:
    """At most one completer, for one event loop."""

    def __init__(self, status: Status, progress: Progress, connect: Connect) -> None:
        self._status, self._progress, self._connect = status, progress, connect
        self._trying: asyncio.Task[None] | None = None
        self._asked: tuple[Options, Sequence[Path]] | None = None
        self.completer: Completer | None = None
        """None while there is no connection."""

    @property
    def opened(self) -> bool:
        """Whether loading or connecting has begun at least once."""
        return self._asked is not None

    async def open(self, options: Options, roots: Sequence[Path]) -> None:
        """Close the current completer and start loading or connecting."""
        await self.close()
        self._asked = (options, roots)
        self._trying = asyncio.create_task(self._try_until_there())

    def lost(self, message: str) -> None:
        """Report that the server no longer responds, and reconnect until it is back."""
        self._status.tell("error", message)
        if self._asked is None or not self._asked[0].server or (self._trying and not self._trying.done()):
            return
        gone, self.completer = self.completer, None
        self._trying = asyncio.create_task(self._come_back(gone))

    async def close(self) -> None:
        """Release the model or the connection, or cancel the attempt to get one."""
        if self._trying is not None:
            self._trying.cancel()
            await asyncio.wait([self._trying])
        completer, self.completer = self.completer, None
        if completer is not None:
            gc.unfreeze()
            await completer.close()

    async def _come_back(self, gone: Completer | None) -> None:
        if gone is not None:
            await gone.close()
        await self._try_until_there()

    async def _try_until_there(self) -> None:
        assert self._asked is not None
        options, roots = self._asked
        if self.completer is None and not self._status.failed:
            elsewhere = options.server not in (None, AUTO)
            self._status.tell("loading", f"Connecting to {options.server}" if elsewhere else "Loading the model")
        for wait in waits():
            again = await self._try(options, roots)
            if not again:
                return
            await asyncio.sleep(wait)

    async def _try(self, options: Options, roots: Sequence[Path]) -> bool:
        """Connect once and report the result; returns whether to retry: not if a model cannot be loaded."""
        try:
            async with self._progress():
                completer = await self._connect(options, roots)
        except StarlingError as error:
            log.error("%s", error)
            self._status.tell("error", str(error))
            return isinstance(error, RequestError)
        except Exception:  # the editor must be told about any failure
            log.exception("the model could not be loaded")
            self._status.tell("error", "The model could not be loaded: see the language server's log.")
            return False
        self.completer = completer
        freeze_loaded()
        self._status.serves(completer.base, completer.adapter)
        self._status.tell("ready", f"{completer.base} with {completer.adapter or 'no adapter'}")
        return False
