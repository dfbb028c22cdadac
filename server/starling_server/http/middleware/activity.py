"""How long nobody has asked for anything."""

import asyncio
from time import monotonic

from starlette.types import ASGIApp, Receive, Scope, Send

UNCOUNTED = frozenset({"/health", "/ready", "/metrics"})
"""Questions after the server itself: they are no use of it."""


class Activity:
    """Requests that run, and when the last of them ended."""

    def __init__(self) -> None:
        self._running, self._ended = 0, monotonic()

    def began(self) -> None:
        """A request came."""
        self._running += 1

    def ended(self) -> None:
        """A request was answered, or its client left."""
        self._running -= 1
        self._ended = monotonic()

    async def until_idle(self, seconds: float) -> None:
        """Wait until nothing has run for `seconds` of this wait."""
        began = monotonic()
        while True:
            left = seconds if self._running else seconds - (monotonic() - max(began, self._ended))
            if left <= 0:
                return
            await asyncio.sleep(left)


class Noted:
    """Middleware that tells `activity` of every request but those after the server itself."""

    def __init__(self, app: ASGIApp, activity: Activity) -> None:
        self._app, self._activity = app, activity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or scope["path"] in UNCOUNTED:
            await self._app(scope, receive, send)
            return
        self._activity.began()
        try:
            await self._app(scope, receive, send)
        finally:
            self._activity.ended()
