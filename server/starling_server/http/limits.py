"""What stands before the routes: how much, how fast and how often one client may send."""

import asyncio
from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager

from aiolimiter import AsyncLimiter
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from starling_server.errors import TooManyRequests

MAX_BODY = 2 << 20
"""Bytes of a request's body."""
BODY_SECONDS = 20.0
"""A body that is not whole by then is refused: whoever trickles holds a place and no more."""
BURST_SECONDS = 2
"""The rate is counted over this long, so that twice as many as in a second may come at once."""
MOST_CLIENTS = 4096
"""Clients that are remembered; the one that has been away longest is forgotten first."""


class BodyLimit:
    """Refuses bodies over `limit` bytes, announced or not, where the routes' own error handling sees it.

    FastAPI's `max_body_size` answers in plain text instead of a problem document.
    """

    def __init__(self, app: ASGIApp, limit: int, seconds: float = BODY_SECONDS) -> None:
        self._app, self._limit, self._seconds = app, limit, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body counted and timed."""
        total, whole = 0, False
        due = asyncio.get_running_loop().time() + self._seconds

        async def counted() -> Message:
            nonlocal total, whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(due):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408) from None
            total += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if total > self._limit:
                raise HTTPException(413)
            return message

        await self._app(scope, counted, send)


class Allowance:
    """What one client may still do."""

    def __init__(self, rate: float) -> None:
        self.rate = AsyncLimiter(rate * BURST_SECONDS, BURST_SECONDS) if rate else None
        self.running = 0


class Allowances:
    """Requests a second (`rate`) and at once (`concurrency`) of each client by name; 0 sets no limit."""

    def __init__(self, rate: float, concurrency: int) -> None:
        self._rate, self._concurrency = rate, concurrency
        self._of: OrderedDict[str, Allowance] = OrderedDict()

    async def take(self, client: str) -> Allowance:
        """Count one more request of `client`; raises TooManyRequests."""
        own = self._find(client)
        if own.rate is not None:
            if not own.rate.has_capacity():
                raise TooManyRequests(
                    f"{client} asks more than {self._rate:g} times a second: wait, or raise --client-rate."
                )
            await own.rate.acquire()
        return own

    @contextmanager
    def running(self, client: str, own: Allowance) -> Generator[None]:
        """Hold a place while a request runs; raises TooManyRequests where none is left."""
        if self._concurrency and own.running >= self._concurrency:
            raise TooManyRequests(
                f"{client} has {self._concurrency} requests under way: wait for them, or raise --client-concurrency."
            )
        own.running += 1
        try:
            yield
        finally:
            own.running -= 1

    def _find(self, client: str) -> Allowance:
        own = self._of.get(client)
        if own is None:
            own = self._of[client] = Allowance(self._rate)
        self._of.move_to_end(client)
        while len(self._of) > MOST_CLIENTS:
            self._of.popitem(last=False)
        return own
