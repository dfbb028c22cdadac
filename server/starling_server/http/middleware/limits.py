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
"""Max seconds until a body is complete."""
BURST_SECONDS = 2
"""Period of the rate limit: a burst may have the requests of this many seconds."""
MOST_CLIENTS = 4096
"""Max tracked clients; the least recently seen is evicted first."""


class BodyLimit:
    """Middleware that limits bodies to `limit` bytes and `seconds`, with or without a Content-Length.

    It raises inside the application, whose handlers make a problem document. FastAPI's `max_body_size` answers in plain
    text.
    """

    def __init__(self, app: ASGIApp, limit: int, seconds: float = BODY_SECONDS) -> None:
        self._app, self._limit, self._seconds = app, limit, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; raises HTTPException (408, 413) while its body is read."""
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
    """The limits of one client and what it uses of them."""

    def __init__(self, rate: float) -> None:
        most = max(1.0, rate * BURST_SECONDS)
        self.rate = AsyncLimiter(most, most / rate) if rate else None
        self.running = 0


class Place:
    """The generations that one request uses of its client's limits: one at first, more once the body is read.

    As a context manager it holds the request's concurrent generations until the response is complete.
    """

    def __init__(self, client: str, own: Allowance, rate: float, concurrency: int) -> None:
        self._client, self._own, self._rate, self._concurrency = client, own, rate, concurrency
        self._held = 0

    def __enter__(self) -> None:
        """Hold one concurrent generation; raises TooManyRequests if none is left."""
        self._hold(1)

    def __exit__(self, *_: object) -> None:
        """Release all concurrent generations."""
        self._own.running -= self._held
        self._held = 0

    async def cost(self, generations: int, at_once: int = 1) -> None:
        """Count the request as `generations`, of which `at_once` run concurrently; raises TooManyRequests, TooLarge."""
        self._hold(at_once - self._held)
        await self.spend(generations - 1)

    async def spend(self, count: int) -> None:
        """Count `count` generations against the client's rate; raises TooManyRequests, TooLarge."""
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
    """Limits per client: generations per second (`rate`) and concurrent ones (`concurrency`); 0 sets no limit."""

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
