"""The way to whoever answers: loads the model or finds the server, and finds it again after it was lost."""

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

log = logging.getLogger(__name__)
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
Progress = Callable[[], AbstractAsyncContextManager[None]]
"""Shows the editor that something loads, while its context lasts."""
Connect = Callable[[Options, Sequence[Path]], Awaitable[Completer]]
"""Gives a completer that is ready, for these options and workspace folders; raises StarlingError."""


def waits() -> Iterator[float]:
    """Seconds between one try and the next, for ever: each twice the last, to half a minute."""
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
        """None while nobody can answer."""

    async def open(self, options: Options, roots: Sequence[Path]) -> None:
        """Begin to load or connect, in place of what was there."""
        await self.close()
        self._asked = (options, roots)
        self._trying = asyncio.create_task(self._try_until_there())

    def lost(self, message: str) -> None:
        """The server does not answer any more: say so, and look for it until it is back."""
        self._status.tell("error", message)
        if self._asked is None or not self._asked[0].server or (self._trying and not self._trying.done()):
            return
        gone, self.completer = self.completer, None
        self._trying = asyncio.create_task(self._come_back(gone))

    async def close(self) -> None:
        """Let go of the model or the connection, or of the attempt to get one."""
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
        """Connect once, and tell; whether to try again, which does not help where a model cannot be loaded."""
        try:
            async with self._progress():
                completer = await self._connect(options, roots)
        except StarlingError as error:
            log.error("%s", error)
            self._status.tell("error", str(error))
            return isinstance(error, RequestError)
        except Exception:  # whatever it was, the editor must learn that there will be no suggestions
            log.exception("the model could not be loaded")
            self._status.tell("error", "The model could not be loaded: see the language server's log.")
            return False
        self.completer = completer
        gc.collect()
        gc.freeze()  # what was loaded stays: the collector need not look through it again between two keys
        self._status.serves(completer.base, completer.adapter)
        self._status.tell("ready", f"{completer.base} with {completer.adapter or 'no adapter'}")
        return False
