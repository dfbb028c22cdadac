"""Work items of the scheduler, and the policy of who goes first. No threads: the scheduler's lock guards it.

A session's newest request supersedes its older ones, queued or running. Across sessions the newest runs first, since
a user is looking at it; every other turn goes to the oldest request that has waited for `AGEING` seconds. If all turns
went to the oldest, no suggestion would be on time under overload. Background work (prefetch) runs only
when nothing else is queued, and yields to any request at its next forward.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle, groupby
from time import monotonic
from typing import Any

from starling_server.engine.engine import Steps
from starling_server.engine.protocols import AdapterId, Call, Feed
from starling_server.errors import Stalled
from starling_server.schema import Finish

Session = Hashable
"""One client's cursor; its newest request supersedes older ones."""
AGEING = 1.0
STALLED = "The model does not answer and is being loaded again: try again in some seconds."


class Interrupted(Exception):
    """The work was cancelled before it started; `reason` is the cause."""

    def __init__(self, reason: Finish) -> None:
        super().__init__(reason)
        self.reason: Finish = reason


@dataclass(eq=False, slots=True)
class Ticket:
    """Handle of one work item; any thread may `cancel` it, the worker checks `interrupted`."""

    session: Session | None
    deadline: float
    """On `time.monotonic()`'s clock."""
    background: bool
    submitted: float = field(default_factory=monotonic)
    started: float | None = None
    _reason: Finish | None = None

    def cancel(self, reason: Finish = "cancelled") -> None:
        """Cancel the work at its next forward; the first reason is kept."""
        self._reason = self._reason or reason

    def interrupted(self) -> Finish | None:
        """Reason to stop now; None while the work should continue."""
        if self._reason is None and monotonic() > self.deadline:
            self._reason = "deadline"
        return self._reason

    @property
    def queue_ms(self) -> float:
        """Time between submission and start, in milliseconds."""
        return ((self.started or monotonic()) - self.submitted) * 1e3


@dataclass(eq=False, slots=True)
class Entry:
    """A work item that is queued, or running with a feed that waits for its forward."""

    ticket: Ticket
    work: Callable[[Ticket], Steps[Any]]
    future: "Future[Any]"
    steps: Steps[Any] | None = None
    feed: Call | None = None
    """None before the first step and after the last."""


class JobQueue:
    """Queued and running work items; at most `most` may be queued, any number if it is 0."""

    def __init__(self, most: int = 0) -> None:
        self.most = most
        self.queued: list[Entry] = []
        self.running: list[Entry] = []
        self._fair = cycle((False, True))
        """Whether the oldest item may go first."""

    @property
    def entries(self) -> list[Entry]:
        """All items, running ones first."""
        return [*self.running, *self.queued]

    def fits(self, count: int) -> bool:
        """Whether this many more may be queued."""
        return not self.most or len(self.queued) + count <= self.most

    def supersede(self, newer: Ticket) -> None:
        """End the older requests of the same session, and background work if `newer` is a request."""
        for ticket in [entry.ticket for entry in self.entries]:
            same_session = newer.session is not None and ticket.session == newer.session
            if ticket.background and not newer.background:
                self.end(ticket, "cancelled")
            elif same_session and ticket.background == newer.background:
                self.end(ticket, "superseded")

    def end(self, ticket: Ticket, reason: Finish) -> None:
        """Cancel an item: at once if it is queued, else at its next forward."""
        ticket.cancel(reason)
        for entry in [entry for entry in self.queued if entry.ticket is ticket]:
            self.queued.remove(entry)
            with suppress(Exception):  # the waiter may have cancelled
                entry.future.set_exception(Interrupted(reason))

    def fail(self, entries: Iterable[Entry]) -> None:
        """Fail these items because the worker hangs; results that it still produces for them are discarded."""
        for entry in entries:
            entry.ticket.cancel("cancelled")
            if entry in self.queued:
                self.queued.remove(entry)
            with suppress(InvalidStateError):
                entry.future.set_exception(Stalled(STALLED))

    def start_next(self, rows: int) -> Entry | None:
        """Move the next item to the running ones; None if `rows` run already or none may start."""
        while self.queued and len(self.running) < rows:
            entry = foremost(self.queued, next(self._fair))
            if entry.ticket.background and self.running:
                return None
            self.queued.remove(entry)
            if entry.future.set_running_or_notify_cancel():
                entry.ticket.started = monotonic()
                self.running.append(entry)
                return entry
        return None


def foremost(entries: Sequence[Entry], fair: bool) -> Entry:
    """Next item: the newest, or in a `fair` turn the oldest if it has waited long; background work only if alone."""
    waiting = [entry for entry in entries if not entry.ticket.background]
    if not waiting:
        return entries[-1]
    oldest = min(waiting, key=lambda entry: entry.ticket.submitted)
    newest = max(waiting, key=lambda entry: entry.ticket.submitted)
    return oldest if fair and monotonic() - oldest.ticket.submitted > AGEING else newest


def turn(running: Sequence[Entry], rows: int, decode: int, fair: bool) -> list[list[Entry]]:
    """The forwards of one turn: one chunk of a prompt, and every decoding request once, by adapter, `rows` at most."""
    reading = [entry for entry in running if _tokens(entry) > decode]
    decoding = [entry for entry in running if _tokens(entry) <= decode]
    forwards = [[foremost(reading, fair)]] if reading else []
    for adapter in _unique(_adapter(entry) for entry in decoding):
        same = [entry for entry in decoding if _adapter(entry) == adapter]
        forwards += [same[at : at + rows] for at in range(0, len(same), rows)]
    return forwards


def _tokens(entry: Entry) -> int:
    assert entry.feed is not None
    return len(entry.feed.ids) if isinstance(entry.feed, Feed) else 1


def _adapter(entry: Entry) -> AdapterId | None:
    assert entry.feed is not None
    return entry.feed.adapter if isinstance(entry.feed, Feed) else None


def _unique(adapters: Iterable[AdapterId | None]) -> list[AdapterId | None]:
    return [adapter for adapter, _ in groupby(sorted(adapters, key=lambda adapter: str(adapter or "")))]
