"""One worker thread owns the model; this decides what it does next.

A session's newest request supersedes its older ones, queued or running. Across sessions the newest goes first, since
somebody is looking at it, but one that has waited for `AGEING` seconds goes before all. Background work (prefetch)
runs only when nothing else is there, and gives way to any request at its next forward.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TypeVar

from starling_server.engine import Finish

T = TypeVar("T")
AGEING = 1.0


class Interrupted(Exception):
    """The work was ended before it began; `reason` says why."""

    def __init__(self, reason: Finish) -> None:
        super().__init__(reason)
        self.reason: Finish = reason


@dataclass(eq=False, slots=True)
class Ticket:
    """One piece of work; any thread may `cancel` it, the worker asks `interrupted`."""

    session: str | None
    deadline: float
    """On `time.monotonic()`'s clock."""
    background: bool
    submitted: float = field(default_factory=monotonic)
    started: float | None = None
    _reason: Finish | None = None

    def cancel(self, reason: Finish = "cancelled") -> None:
        """End the work at its next forward; the first reason stays."""
        self._reason = self._reason or reason

    def interrupted(self) -> Finish | None:
        """Why the work should end now, None while it should go on."""
        if self._reason is None and monotonic() > self.deadline:
            self._reason = "deadline"
        return self._reason

    @property
    def queue_ms(self) -> float:
        """Time between submission and start, in milliseconds."""
        return ((self.started or monotonic()) - self.submitted) * 1e3


@dataclass(eq=False, slots=True)
class _Entry:
    ticket: Ticket
    work: Callable[[Ticket], Any]
    future: "Future[Any]"


class Scheduler:
    """A queue in front of one worker thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: list[_Entry] = []
        self._running: Ticket | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="starling-model", daemon=True)
        self._thread.start()

    def submit(
        self, work: Callable[[Ticket], T], session: str | None, seconds: float, background: bool = False
    ) -> tuple[Ticket, "Future[T]"]:
        """Queue `work`; its ticket ends it `seconds` from now at the latest.

        The future raises Interrupted where the work was ended while still queued.
        """
        future: Future[T] = Future()
        ticket = Ticket(session, monotonic() + seconds, background)
        with self._changed:
            if self._closed:
                future.set_exception(Interrupted("cancelled"))
                return ticket, future
            self._supersede(ticket)
            self._queue.append(_Entry(ticket, work, future))
            self._changed.notify()
        return ticket, future

    def cancel(self, ticket: Ticket, reason: Finish = "cancelled") -> None:
        """End `ticket`'s work, at once where it is still queued."""
        with self._changed:
            self._end(ticket, reason)

    def close(self) -> None:
        """End everything and wait for the worker."""
        with self._changed:
            self._closed = True
            for ticket in self._tickets():
                self._end(ticket, "cancelled")
            self._changed.notify()
        self._thread.join()

    def _tickets(self) -> list[Ticket]:
        running = [self._running] if self._running else []
        return [*running, *(entry.ticket for entry in self._queue)]

    def _supersede(self, newer: Ticket) -> None:
        for ticket in self._tickets():
            same_session = newer.session is not None and ticket.session == newer.session
            if ticket.background and not newer.background:
                self._end(ticket, "cancelled")
            elif same_session and ticket.background == newer.background:
                self._end(ticket, "superseded")

    def _end(self, ticket: Ticket, reason: Finish) -> None:
        ticket.cancel(reason)
        for entry in [entry for entry in self._queue if entry.ticket is ticket]:
            self._queue.remove(entry)
            with suppress(Exception):  # the waiter may have gone
                entry.future.set_exception(Interrupted(reason))

    def _serve(self) -> None:
        while (entry := self._next()) is not None:
            if entry.future.set_running_or_notify_cancel():
                _run(entry)
            with self._changed:
                self._running = None

    def _next(self) -> _Entry | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            if not self._queue:
                return None
            entry = _choose(self._queue)
            self._queue.remove(entry)
            self._running = entry.ticket
            entry.ticket.started = monotonic()
            return entry


def _choose(queue: list[_Entry]) -> _Entry:
    waiting = [entry for entry in queue if not entry.ticket.background]
    if not waiting:
        return queue[-1]
    oldest = waiting[0]
    return oldest if monotonic() - oldest.ticket.submitted > AGEING else waiting[-1]


def _run(entry: _Entry) -> None:
    try:
        result = entry.work(entry.ticket)
    except BaseException as error:
        entry.future.set_exception(error)
    else:
        entry.future.set_result(result)
