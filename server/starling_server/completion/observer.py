"""Hooks called when a request completes or fails. No torch."""

import asyncio
from typing import Protocol

from starling_server.errors import RequestError
from starling_server.schema import CompleteResponse


class Observer(Protocol):
    """Called once per request."""

    def answered(self, response: CompleteResponse) -> None:
        """A request was answered."""
        ...

    def failed(self, adapter: str | None, outcome: str) -> None:
        """A request was not answered: `outcome` is `cancelled`, because its client left, or an error's kind."""
        ...


class Nobody:
    """The observer that ignores every call."""

    def answered(self, response: CompleteResponse) -> None:
        """Nothing."""

    def failed(self, adapter: str | None, outcome: str) -> None:
        """Nothing."""


def ending(error: BaseException) -> str:
    """The outcome of a request that ended with `error`."""
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return error.kind if isinstance(error, RequestError) else "error"
