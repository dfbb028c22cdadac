"""Connections that are opened and then say nothing, or say it slowly: they end by themselves.

uvicorn ends connections that idle after an answer, but neither those that never send a request nor those whose headers
trickle in; each holds a file descriptor, and when those are used up nobody is let in.
"""

import asyncio
from contextlib import suppress
from typing import Any

from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

HEAD_SECONDS = 10.0
"""A request's headers are here by then, or the connection ends."""
LAG_SECONDS = 0.5
"""An event loop that is so far behind can't tell who is slow."""
IDLE_SECONDS = 30
"""How long a connection is kept after an answer: editors ask again with the next key."""
HEAD_BYTES = 64 << 10
"""Most bytes of a request's headers."""

SPARE_FILES = 128
"""File descriptors for everything that is no connection."""


def most_connections() -> int:
    """How many the process may hold, its limit of open files raised as far as it goes without rights."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return Connection.limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = Connection.limit + SPARE_FILES
    new = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and new > soft:
        with suppress(OSError, ValueError):  # some systems have a lower limit that they do not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (new, hard))
            soft = new
    return min(Connection.limit, max(16, (wanted if soft == resource.RLIM_INFINITY else soft) - SPARE_FILES))


def limited(most: int, head_seconds: float = HEAD_SECONDS) -> type[asyncio.Protocol]:
    """The protocol for `uvicorn.Config(http=...)` that holds `most` connections and ends what is slower than that."""

    class Limited(Connection):
        """`Connection` with its limits."""

        limit, seconds = most, head_seconds

    return Limited


class Connection(H11Protocol):
    """One connection, which has until `seconds` for each request's headers."""

    limit: int = 1 << 16
    seconds: float = HEAD_SECONDS

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Wait for the first request, or turn away one too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limit:
            transport.abort()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take bytes in, and mind the time until the request is there."""
        super().data_received(data)
        if self._answering:
            self._stop_waiting()
        elif self._due is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time."""
        self._stop_waiting()
        super().connection_lost(exc)

    @property
    def _answering(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _wait(self) -> None:
        self._due = self.loop.call_later(self.seconds, self._end)

    def _stop_waiting(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _end(self) -> None:
        late = self._due is not None and self.loop.time() - self._due.when() > LAG_SECONDS
        self._due = None
        if late:  # it was this process that had no time: what was sent may lie here unread
            self._wait()
        elif not self._answering:
            self.transport.abort()
