"""Scheduler of the one worker thread that owns the model.

Work is a coroutine of feeds (`engine.Steps`), so several requests run at once: in each turn those that decode under the
same adapter share a forward, and one of those that still read their prompts is fed its next chunk.

A session's newest request supersedes its older ones, queued or running. Across sessions the newest runs first, since
a user is looking at it; every other turn goes to the oldest request that has waited for `AGEING` seconds. If all turns
went to the oldest, no suggestion would be on time under overload. Background work (prefetch) runs only
when nothing else is queued, and yields to any request at its next forward.

A thread can't be killed: if a forward never returns, waiting requests fail with an error (`expire`, `abandon`), and the
thread is abandoned with everything that it owns.
"""

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle, groupby
from time import monotonic
from typing import Any, TypeVar

from starling_server.engine.engine import Steps
from starling_server.engine.protocols import AdapterId, Call, Feed
from starling_server.errors import Overloaded, Stalled
from starling_server.schema import Finish

T = TypeVar("T")
Forward = Callable[[Sequence[Any]], list[Any]]
"""`engine.Generates.feed`."""
Session = Hashable
"""One client's cursor; its newest request supersedes older ones."""
AGEING = 1.0
LATE = 2.0
"""Seconds without worker progress after which a request past its deadline is abandoned."""
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


class Scheduler:
    """A queue in front of one worker thread.

    `rows` requests run at once at most; `forward` computes their feeds. Feeds of up to `decode` ids may share one.
    `most` may wait, any number where it is 0.
    """

    def __init__(self, forward: Forward, rows: int = 1, decode: int = 1, most: int = 0) -> None:
        self._forward, self._rows, self._decode, self._most = forward, rows, decode, most
        self._changed = threading.Condition()
        self._queue: list[Entry] = []
        self._running: list[Entry] = []
        self._closed = False
        self._admissions, self._turns = cycle((False, True)), cycle((False, True))
        """Whether the next one is fair."""
        self._seen = monotonic()
        self.begun = 0
        """Started work items, without background work."""
        self._thread = threading.Thread(target=self._serve, name="starling-model", daemon=True)
        self._thread.start()

    def submit(
        self, work: Callable[[Ticket], Steps[T]], session: Session | None, seconds: float, background: bool = False
    ) -> tuple[Ticket, "Future[T]"]:
        """Queue `work`; its ticket ends it `seconds` from now at the latest.

        The future raises Interrupted where the work was ended while still queued, Stalled where the model hangs.
        Raises Overloaded where as many wait as may; background work is then dropped.
        """
        future: Future[T] = Future()
        ticket = Ticket(session, monotonic() + seconds, background)
        with self._changed:
            if self._closed:
                future.set_exception(Interrupted("cancelled"))
                return ticket, future
            self._supersede(ticket)
            if self.full and not background:
                raise Overloaded(f"{self._most} requests are waiting: try again later, or raise --queue.")
            if self.full:
                future.set_exception(Interrupted("cancelled"))
                return ticket, future
            if not (self._queue or self._running):
                self._seen = monotonic()
            self._queue.append(Entry(ticket, work, future))
            self._changed.notify()
        return ticket, future

    def cancel(self, ticket: Ticket, reason: Finish = "cancelled") -> None:
        """End `ticket`'s work, at once where it is still queued."""
        with self._changed:
            self._end(ticket, reason)

    def expire(self, ticket: Ticket) -> None:
        """Called at the deadline: cancel `ticket` if it is still queued, or if the worker hangs on it."""
        with self._changed:
            ticket.interrupted()
            if self.silent > LATE:
                self._fail([entry for entry in self._entries() if entry.ticket is ticket])
            else:
                self._end(ticket, "deadline")

    def abandon(self) -> None:
        """Fail all waiting requests and abandon the worker thread."""
        with self._changed:
            self._closed = True
            self._fail(self._entries())
            self._changed.notify()

    @property
    def running(self) -> int:
        """Work items running now, including background work."""
        return len(self._running)

    @property
    def queued(self) -> int:
        """Queued work items."""
        return len(self._queue)

    @property
    def full(self) -> bool:
        """Whether the queue is full."""
        return not self.fits(1)

    def fits(self, count: int) -> bool:
        """Whether the queue has room for this many more."""
        return not self._most or len(self._queue) + count <= self._most

    @property
    def alive(self) -> bool:
        """Whether the worker thread is alive."""
        return self._thread.is_alive()

    @property
    def silent(self) -> float:
        """Seconds since the worker last started an item or finished a forward; 0 when idle."""
        return monotonic() - self._seen if self._queue or self._running else 0.0

    def end(self) -> None:
        """Cancel all work, each item at its next forward, and accept no more."""
        with self._changed:
            self._closed = True
            for entry in self._entries():
                self._end(entry.ticket, "cancelled")
            self._changed.notify()

    def close(self, seconds: float | None = None) -> None:
        """Cancel all work and wait for the worker, with a timeout."""
        self.end()
        self._thread.join(seconds)

    def _entries(self) -> list[Entry]:
        return [*self._running, *self._queue]

    def _supersede(self, newer: Ticket) -> None:
        for ticket in [entry.ticket for entry in self._entries()]:
            same_session = newer.session is not None and ticket.session == newer.session
            if ticket.background and not newer.background:
                self._end(ticket, "cancelled")
            elif same_session and ticket.background == newer.background:
                self._end(ticket, "superseded")

    def _end(self, ticket: Ticket, reason: Finish) -> None:
        ticket.cancel(reason)
        for entry in [entry for entry in self._queue if entry.ticket is ticket]:
            self._queue.remove(entry)
            with suppress(Exception):  # the waiter may have cancelled
                entry.future.set_exception(Interrupted(reason))

    def _fail(self, entries: Iterable[Entry]) -> None:
        """Fail these items because the worker hangs; results that it still produces for them are discarded."""
        for entry in entries:
            entry.ticket.cancel("cancelled")
            if entry in self._queue:
                self._queue.remove(entry)
            with suppress(InvalidStateError):
                entry.future.set_exception(Stalled(STALLED))

    def _serve(self) -> None:
        while self._admit():
            for entry in [entry for entry in self._running if entry.feed is None or entry.ticket.interrupted()]:
                self._advance(entry, None)
            ready = [entry for entry in self._running if entry.feed]
            for batch in turn(ready, self._rows, self._decode, next(self._turns)):
                self._run(batch)

    def _admit(self) -> bool:
        """Let queued work run as far as there is room; False where there is none and none will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._running or self._closed)
            self._seen = monotonic()
            while self._queue and len(self._running) < self._rows:
                entry = foremost(self._queue, next(self._admissions))
                if entry.ticket.background and self._running:
                    break
                self._queue.remove(entry)
                if entry.future.set_running_or_notify_cancel():
                    entry.ticket.started = monotonic()
                    self.begun += not entry.ticket.background
                    entry.steps = entry.work(entry.ticket)
                    self._running.append(entry)
            return bool(self._running or not self._closed)

    def _run(self, batch: Sequence[Entry]) -> None:
        """One forward for all of `batch`, whose feeds are all there."""
        try:
            answers = self._forward([entry.feed for entry in batch if entry.feed])
        except Exception as error:
            for entry in batch:
                self._advance(entry, error)
        else:
            for entry, its in zip(batch, answers, strict=True):
                self._advance(entry, its)

    def _advance(self, entry: Entry, answer: Any) -> None:
        """Run one work item up to its next feed or its end."""
        assert entry.steps is not None
        try:
            entry.feed = entry.steps.throw(answer) if isinstance(answer, Exception) else entry.steps.send(answer)
        except StopIteration as end:
            self._leave(entry)
            with suppress(InvalidStateError):  # late: the future is already done
                entry.future.set_result(end.value)
        except BaseException as error:
            self._leave(entry)
            with suppress(InvalidStateError):
                entry.future.set_exception(error)
        self._seen = monotonic()

    def _leave(self, entry: Entry) -> None:
        with self._changed:
            self._running.remove(entry)


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
