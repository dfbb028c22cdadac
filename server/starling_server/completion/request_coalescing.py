"""Generations under way, and the requests that they will answer.

A key that agrees with what a running generation has written so far does not end it: the request waits for the same
generation, which then leads to where the cursor is now. One that disagrees ends it at its next token.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from starling_server.engine.scheduler import Session, Ticket

T = TypeVar("T")
GRACE_SECONDS = 0.03
"""How long a session's generation outlives its last waiter: editors cancel the old request before they send the new."""


@dataclass(slots=True, eq=False)
class Flight(Generic[T]):
    """One generation for one cursor."""

    scope: tuple[object, ...]
    """Everything but the place that the answer depends on."""
    prefix: str
    suffix: str
    wanted: str
    """The prefix of the newest request that waits for it; `prefix` and what was typed since."""
    ticket: Ticket = field(init=False)
    landed: "asyncio.Future[T]" = field(init=False)
    """Both are set before anybody but the worker sees the flight."""
    text: str = ""
    """What may be inserted at `prefix` so far."""
    waiting: int = 0

    def leads_to(self, scope: tuple[object, ...], prefix: str, suffix: str) -> bool:
        """Whether its answer may go on at `prefix`."""
        return self.scope == scope and self.suffix == suffix and self._agrees(prefix)

    def heard(self, text: str, ticket: Ticket) -> None:
        """Take note of the text so far, on the worker's thread; end what no longer leads anywhere."""
        self.text = text
        if not self._agrees(self.wanted):
            ticket.cancel("superseded")

    def _agrees(self, prefix: str) -> bool:
        if not prefix.startswith(self.prefix):
            return False
        typed = prefix[len(self.prefix) :]
        return typed.startswith(self.text) or self.text.startswith(typed)


class Flights(Generic[T]):
    """The newest flight of each session. For one event loop."""

    def __init__(self, end: Callable[[Ticket], None]) -> None:
        self._end = end
        self._newest: dict[Session, Flight[T]] = {}

    def find(self, session: Session | None, scope: tuple[object, ...], prefix: str, suffix: str) -> Flight[T] | None:
        """The session's flight, where it leads to `prefix`; it is wanted there from now on."""
        flight = self._newest.get(session) if session is not None else None
        if flight is None or flight.landed.done() or not flight.leads_to(scope, prefix, suffix):
            return None
        flight.wanted = prefix
        return flight

    def add(self, session: Session | None, flight: Flight[T]) -> None:
        """Remember `flight` as its session's newest until it lands."""
        if session is None:
            return

        def forget(_: object) -> None:
            if self._newest.get(session) is flight:
                del self._newest[session]

        self._newest[session] = flight
        flight.landed.add_done_callback(forget)

    async def wait(self, flight: Flight[T], grace: float) -> T:
        """What `flight` brings; it ends `grace` seconds after the last of those who wait for it has gone."""
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.landed)
        except asyncio.CancelledError:
            if flight.waiting == 1 and not flight.landed.done():
                asyncio.get_running_loop().call_later(grace, self._abandon, flight)
            raise
        finally:
            flight.waiting -= 1

    def _abandon(self, flight: Flight[T]) -> None:
        if not flight.waiting and not flight.landed.done():
            self._end(flight.ticket)


def landing(outcome: Awaitable[T]) -> "asyncio.Future[T]":
    """`outcome` as a future that many may wait for and nobody has to."""
    future = asyncio.ensure_future(outcome)
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future
