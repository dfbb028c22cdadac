"""Time since the last request."""

import asyncio
from time import monotonic

from starlette.types import ASGIApp, Receive, Scope, Send

UNCOUNTED = frozenset({"/health", "/ready", "/metrics"})
"""Paths about the server itself; requests for them do not count as activity."""


class Activity:
    """Number of running requests, and the end time of the last one."""

    def __init__(self) -> None:
        self._running, self._ended = 0, monotonic()

    def began(self) -> None:
        """Count the start of a request."""
        self._running += 1

    def ended(self) -> None:
        """Count the end of a request, by response or disconnect."""
        self._running -= 1
        self._ended = monotonic()

    async def until_idle(self, seconds: float) -> None:
        """Wait until no request has run for `seconds`, counted from this call at the earliest."""
        began = monotonic()
        while True:
            left = seconds if self._running else seconds - (monotonic() - max(began, self._ended))
            if left <= 0:
                return
            await asyncio.sleep(left)


class Noted:
    """Middleware that records requests in `activity`, except those in `UNCOUNTED`."""

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
