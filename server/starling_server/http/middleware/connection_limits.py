"""Timeouts for connections that send nothing, send slowly, or do not read.

uvicorn closes connections that are idle after a response, but not those that send no request, send headers slowly or
never read the response. Each connection occupies a file descriptor, and without free descriptors no client can connect.
"""

import asyncio
import re
import sys
from contextlib import suppress
from typing import Any

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from starling_server.untrusted import shown

HEAD_SECONDS = 10.0
"""Seconds for a request's headers to arrive before the connection is closed."""
LAG_SECONDS = 0.5
"""Delay of the event loop, in seconds, beyond which a timeout may be the server's own fault."""
IDLE_SECONDS = 30
"""Seconds that a connection is kept open after a response, for the editor's next request."""
HEAD_BYTES = 64 << 10
"""Max bytes of a request's headers."""
MOST_HEADERS = 100
"""Max lines of a request's head: h11 takes ten microseconds per line."""
UNREAD_SECONDS = 20.0
"""Max seconds without progress in sending a response."""
LINGER_SECONDS = 5.0
"""Max seconds to flush a connection that is being closed."""
READ_BYTES = 64 << 10
"""Max bytes per read from a socket, so that one connection does not delay the others."""
_HEAD_END = re.compile(rb"\n\r?\n")
FREE_PIECES, PIECE_BYTES = 4096, 64
"""Max chunks of a body: `FREE_PIECES`, plus one per `PIECE_BYTES` received. h11 takes as long per chunk as per header
line: a megabyte in chunks of one byte took 20 seconds."""

SPARE_FILES = 128
"""File descriptors reserved for everything except connections."""


def most_connections() -> int:
    """Max connections of this process, after its limit of open files was raised as far as its privileges allow."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return Connection.limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = Connection.limit + SPARE_FILES
    new = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and new > soft:
        with suppress(OSError, ValueError):  # some systems have a lower limit that they do not report
            resource.setrlimit(resource.RLIMIT_NOFILE, (new, hard))
            soft = new
    return min(Connection.limit, max(16, (wanted if soft == resource.RLIM_INFINITY else soft) - SPARE_FILES))


def limited(most: int, head_seconds: float = HEAD_SECONDS) -> type[asyncio.Protocol]:
    """A protocol for `uvicorn.Config(http=...)` with at most `most` connections and `head_seconds` per head."""

    class Limited(Connection):
        """`Connection` with these limits."""

        limit, seconds = most, head_seconds

    return Limited


class Connection(H11Protocol):
    """One connection; each request's headers must arrive within `seconds`."""

    limit: int = 1 << 16
    seconds: float = HEAD_SECONDS

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, "hang_up": self._hang_up}, _loop)
        self.conn = Bounded(h11.SERVER, config.h11_max_incomplete_event_size or HEAD_BYTES)
        self._due: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._closing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Wait for the first request, or refuse a connection over the limit."""
        super().connection_made(transport)
        transport.max_size = READ_BYTES  # pyright: ignore[reportAttributeAccessIssue] - of asyncio's own sockets
        if len(self.connections) > self.limit:
            transport.abort()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Receive data, and start the timeout of an incomplete head."""
        super().data_received(data)
        if self._answering:
            self._stop_waiting()
        elif self._due is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers, which would keep the connection and its buffers in memory until they are due."""
        self._stop_waiting()
        self.resume_writing()
        self._unset_keepalive_if_required()
        if self._closing is not None:
            self._closing.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the timeout of a client that does not read."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_SECONDS, self._hang_up)

    def resume_writing(self) -> None:
        """Cancel the timeout: the client reads again."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def on_response_complete(self) -> None:
        """Keep the connection for the next request, or enforce its closing."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._linger()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection without a further request."""
        super().timeout_keep_alive_handler()
        self._linger()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP and name the cause; if a response has begun, just close the connection."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self._hang_up()
            return
        cause = ascii(shown(sys.exception() or msg))[1:-1]
        super().send_400_response(f"The request is not valid HTTP/1.1: {cause}. Correct the client or its proxy.")
        cycle: Any = self.cycle
        if self._answering:  # the rest of the body was refused: ignore further data
            cycle.disconnected = True
            cycle.message_event.set()
        self._linger()

    def _hang_up(self) -> None:
        """Close at once and discard unsent data."""
        self.transport.abort()

    def _linger(self) -> None:
        if self._closing is None:
            self._closing = self.loop.call_later(LINGER_SECONDS, self._hang_up)

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
        if late:  # the event loop was late: received data may still be unread
            self._wait()
        elif not self._answering:
            self.transport.abort()


class Bounded(h11.Connection):
    """HTTP/1.1 with bounded parsing time: limits on header lines and on the chunks of a body."""

    def __init__(self, role: type[h11.SERVER], most: int) -> None:
        super().__init__(role, most)
        self._pieces, self._bytes = 0, 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """The next received event; raises RemoteProtocolError."""
        if self.their_state is h11.IDLE:
            self._pieces = self._bytes = 0
            head = self.trailing_data[0]
            end = _HEAD_END.search(head)
            if head.count(b"\n", 0, end.start() if end else len(head)) > MOST_HEADERS:
                raise h11.RemoteProtocolError(f"more than {MOST_HEADERS} header lines", error_status_hint=431)
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._pieces, self._bytes = self._pieces + 1, self._bytes + len(event.data)
            if self._pieces > FREE_PIECES + self._bytes // PIECE_BYTES:
                raise h11.RemoteProtocolError("the body arrives in too many small chunks", error_status_hint=400)
        return event
