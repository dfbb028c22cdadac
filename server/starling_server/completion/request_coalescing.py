"""Running generations and the requests that they will answer.

A typed key that agrees with the text of a running generation does not cancel it: the new request waits for the same
generation and gets the rest of its text. A key that disagrees cancels it at its next token.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from starling_server.engine.job_queue import Session, Ticket

T = TypeVar("T")
GRACE_SECONDS = 0.03
"""How long a generation runs on without a waiter: editors cancel the old request before they send the new one."""


@dataclass(slots=True, eq=False)
class Flight(Generic[T]):
    """One generation for one cursor."""

    scope: tuple[object, ...]
    """Everything but the position that the answer depends on."""
    prefix: str
    suffix: str
    wanted: str
    """The prefix of the newest request that waits for it: `prefix` and the keys typed since."""
    ticket: Ticket = field(init=False)
    landed: "asyncio.Future[T]" = field(init=False)
    """Both are set before the flight is shared with other requests."""
    text: str = ""
    """The insertable text at `prefix` so far."""
    waiting: int = 0

    def leads_to(self, scope: tuple[object, ...], prefix: str, suffix: str) -> bool:
        """Whether its answer may continue at `prefix`."""
        return self.scope == scope and self.suffix == suffix and self._agrees(prefix)

    def heard(self, text: str, ticket: Ticket) -> None:
        """Note the text so far, on the worker's thread; cancel where it disagrees with the newest request."""
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
        """The session's flight, where it leads to `prefix`; its newest request is there from now on."""
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
        """The result of `flight`, which is cancelled `grace` seconds after its last waiter has gone."""
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
    """`outcome` as a future with any number of waiters, none included."""
    future = asyncio.ensure_future(outcome)
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future
