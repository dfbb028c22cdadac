"""What stands before the routes: how much a client may send."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 2 << 20
"""Bytes of a request's body."""


class BodyLimit:
    """Refuses bodies over `limit` bytes, announced or not, where the routes' own error handling sees it.

    FastAPI's `max_body_size` answers in plain text instead of a problem document.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body counted."""
        total = 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > self._limit:
                raise HTTPException(413)
            return message

        await self._app(scope, counted, send)
