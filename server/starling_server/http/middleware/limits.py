"""Limits on the size, speed and rate of one client's requests."""

import asyncio
from collections import OrderedDict

from aiolimiter import AsyncLimiter
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from starling_server.errors import TooLarge, TooManyRequests

MAX_BODY = 2 << 20
"""Max bytes of a request's body."""
BODY_SECONDS = 20.0
"""Max seconds for a complete body: a slow client holds a connection only that long."""
BURST_SECONDS = 2
"""The rate is counted over this long, so that twice as many as in a second may come at once."""
MOST_CLIENTS = 4096
"""Max clients tracked; the least recently seen is evicted first."""


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
    """Remaining allowance of one client."""

    def __init__(self, rate: float) -> None:
        most = max(1.0, rate * BURST_SECONDS)
        self.rate = AsyncLimiter(most, most / rate) if rate else None
        self.running = 0


class Place:
    """What one request takes of its client's allowance: a generation at least, more as soon as it is known.

    As a context it holds what runs at once, and gives it back when the request is answered.
    """

    def __init__(self, client: str, own: Allowance, rate: float, concurrency: int) -> None:
        self._client, self._own, self._rate, self._concurrency = client, own, rate, concurrency
        self._held = 0

    def __enter__(self) -> None:
        """Take one slot; raises TooManyRequests if none is left."""
        self._hold(1)

    def __exit__(self, *_: object) -> None:
        """Release all slots."""
        self._own.running -= self._held
        self._held = 0

    async def cost(self, generations: int, at_once: int = 1) -> None:
        """Count the request as so many generations of which so many run at once; raises TooManyRequests."""
        self._hold(at_once - self._held)
        await self.spend(generations - 1)

    async def spend(self, count: int) -> None:
        """Subtract this cost from the client's allowance; raises TooManyRequests."""
        limiter = self._own.rate
        if limiter is None or count < 1:
            return
        if count > limiter.max_rate:
            raise TooLarge(
                f"The request needs {count + 1} generations, and {self._client} may start "
                f"{limiter.max_rate:g} at once: "
                "send fewer prompts or choices per request, or raise --client-rate."
            )
        if not limiter.has_capacity(count):
            raise TooManyRequests(
                f"{self._client} sends more than {self._rate:g} requests per second: wait a second, "
                "or raise --client-rate."
            )
        await limiter.acquire(count)

    def _hold(self, count: int) -> None:
        if not self._concurrency:
            return
        if count > 0 and self._held + count > self._concurrency:
            raise TooLarge(
                f"The request needs {self._held + count} concurrent generations, and {self._client} may run "
                f"{self._concurrency}: send fewer prompts or choices per request, or raise --client-concurrency."
            )
        if count > 0 and self._own.running + count > self._concurrency:
            raise TooManyRequests(
                f"{self._client} has {self._own.running} generations running and may run {self._concurrency}: wait for "
                "them, or raise --client-concurrency."
            )
        self._own.running += count
        self._held += count


class Allowances:
    """Generations a second (`rate`) and at once (`concurrency`) of each client by name; 0 sets no limit."""

    def __init__(self, rate: float, concurrency: int) -> None:
        self.rate, self._concurrency = rate, concurrency
        self._of: OrderedDict[str, Allowance] = OrderedDict()

    async def take(self, client: str) -> Place:
        """Count one more request of `client`; raises TooManyRequests."""
        place = Place(client, self._find(client), self.rate, self._concurrency)
        await place.spend(1)
        return place

    def _find(self, client: str) -> Allowance:
        own = self._of.get(client)
        if own is None:
            own = self._of[client] = Allowance(self.rate)
        self._of.move_to_end(client)
        while len(self._of) > MOST_CLIENTS:
            self._of.popitem(last=False)
        return own
