"""Who counts what becomes of requests. No torch."""

import asyncio
from typing import Protocol

from starling_server.errors import RequestError
from starling_server.schema import CompleteResponse


class Observer(Protocol):
    """Told once of each request."""

    def answered(self, response: CompleteResponse) -> None:
        """Somebody got an answer."""
        ...

    def failed(self, adapter: str | None, outcome: str) -> None:
        """Somebody got none: `cancelled`, since its client left, or an error's kind."""
        ...


class Nobody:
    """Counts nothing."""

    def answered(self, response: CompleteResponse) -> None:
        """Nothing."""

    def failed(self, adapter: str | None, outcome: str) -> None:
        """Nothing."""


def ending(error: BaseException) -> str:
    """How a request without an answer is counted."""
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return error.kind if isinstance(error, RequestError) else "error"
