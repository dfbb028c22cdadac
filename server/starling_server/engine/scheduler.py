"""Scheduler of the one worker thread that owns the model.

Work is a coroutine of feeds (`engine.Steps`), so several requests run at once: in each turn those that decode under the
same adapter share a forward, and one of those that still read their prompts is fed its next chunk. `job_queue` decides
who goes first.

A thread can't be killed: if a forward never returns, waiting requests fail with an error (`expire`, `abandon`), and the
thread is abandoned with everything that it owns.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from itertools import cycle
from time import monotonic
from typing import Any, TypeVar

from starling_server.engine.engine import Steps
from starling_server.engine.job_queue import Entry, Interrupted, JobQueue, Session, Ticket, turn
from starling_server.errors import Overloaded
from starling_server.schema import Finish

T = TypeVar("T")
Forward = Callable[[Sequence[Any]], list[Any]]
"""`engine.Generates.feed`."""
LATE = 2.0
"""Seconds without worker progress after which a request past its deadline is abandoned."""


class Scheduler:
    """A queue in front of one worker thread.

    `rows` requests run at once at most; `forward` computes their feeds. Feeds of up to `decode` ids may share one.
    `most` may wait, any number where it is 0.
    """

    def __init__(self, forward: Forward, rows: int = 1, decode: int = 1, most: int = 0) -> None:
        self._forward, self._rows, self._decode = forward, rows, decode
        self._changed = threading.Condition()
        self._jobs = JobQueue(most)
        self._closed = False
        self._fair = cycle((False, True))
        """Whether the oldest prompt may go first in a turn."""
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
            self._jobs.supersede(ticket)
            if self.full and not background:
                raise Overloaded(f"{self._jobs.most} requests are waiting: try again later, or raise --queue.")
            if self.full:
                future.set_exception(Interrupted("cancelled"))
                return ticket, future
            if not self._jobs.entries:
                self._seen = monotonic()
            self._jobs.queued.append(Entry(ticket, work, future))
            self._changed.notify()
        return ticket, future

    def cancel(self, ticket: Ticket, reason: Finish = "cancelled") -> None:
        """End `ticket`'s work, at once where it is still queued."""
        with self._changed:
            self._jobs.end(ticket, reason)

    def expire(self, ticket: Ticket) -> None:
        """Called at the deadline: cancel `ticket` if it is still queued, or if the worker hangs on it."""
        with self._changed:
            ticket.interrupted()
            if self.silent > LATE:
                self._jobs.fail([entry for entry in self._jobs.entries if entry.ticket is ticket])
            else:
                self._jobs.end(ticket, "deadline")

    def abandon(self) -> None:
        """Fail all waiting requests and abandon the worker thread."""
        with self._changed:
            self._closed = True
            self._jobs.fail(self._jobs.entries)
            self._changed.notify()

    @property
    def running(self) -> int:
        """Work items running now, including background work."""
        return len(self._jobs.running)

    @property
    def queued(self) -> int:
        """Queued work items."""
        return len(self._jobs.queued)

    @property
    def full(self) -> bool:
        """Whether the queue is full."""
        return not self.fits(1)

    def fits(self, count: int) -> bool:
        """Whether the queue has room for this many more."""
        return self._jobs.fits(count)

    @property
    def alive(self) -> bool:
        """Whether the worker thread is alive."""
        return self._thread.is_alive()

    @property
    def silent(self) -> float:
        """Seconds since the worker last started an item or finished a forward; 0 when idle."""
        return monotonic() - self._seen if self._jobs.entries else 0.0

    def end(self) -> None:
        """Cancel all work, each item at its next forward, and accept no more."""
        with self._changed:
            self._closed = True
            for entry in self._jobs.entries:
                self._jobs.end(entry.ticket, "cancelled")
            self._changed.notify()

    def close(self, seconds: float | None = None) -> None:
        """Cancel all work and wait for the worker, with a timeout."""
        self.end()
        self._thread.join(seconds)

    def _serve(self) -> None:
        while self._admit():
            running = self._jobs.running
            for entry in [entry for entry in running if entry.feed is None or entry.ticket.interrupted()]:
                self._advance(entry, None)
            ready = [entry for entry in running if entry.feed]
            for batch in turn(ready, self._rows, self._decode, next(self._fair)):
                self._run(batch)

    def _admit(self) -> bool:
        """Start queued items while there is room, waiting for the first; False if there is none and none will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs.entries or self._closed)
            self._seen = monotonic()
            while entry := self._jobs.start_next(self._rows):
                self.begun += not entry.ticket.background
                entry.steps = entry.work(entry.ticket)
            return bool(self._jobs.running or not self._closed)

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
            self._jobs.running.remove(entry)
