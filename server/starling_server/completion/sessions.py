"""Which generation answers a request: one that its session has under way, or a new one."""

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace

from starling_server.completion.completer import OnText, Suggested, nothing
from starling_server.completion.request_coalescing import GRACE_SECONDS, Flight, Flights, landing
from starling_server.completion.resolved_request import ResolvedRequest
from starling_server.completion.suggestion_cache import Remembered, continuation
from starling_server.engine.engine import Steps
from starling_server.engine.job_queue import Interrupted, Session, Ticket
from starling_server.engine.scheduler import Scheduler
from starling_server.errors import OutOfMemory
from starling_server.prompt.cursor import Cursor
from starling_server.schema import ENDED

Suggest = Callable[[ResolvedRequest, Cursor, Ticket, OnText | None], Steps[Suggested]]
"""The model's work for one request, run on the worker's thread."""


class Sessions:
    """The newest request and the newest generation of each session. For one event loop."""

    def __init__(self, scheduler: Scheduler, suggest: Suggest) -> None:
        self._scheduler, self._suggest = scheduler, suggest
        self._flights = Flights[Suggested](scheduler.cancel)
        self._newest: dict[Session, ResolvedRequest] = {}

    async def generate(self, ask: ResolvedRequest, on_text: OnText | None) -> Suggested:
        """The answer of a running generation that leads here, else of a new one; raises Overloaded, OutOfMemory."""
        if not ask.is_repeatable:
            return await self._flights.wait(self._start(ask, on_text), 0)
        assert ask.session is not None
        self._newest[ask.session] = ask
        try:
            flight = self._flights.find(ask.session, ask.scope, ask.prefix, ask.suffix) if on_text is None else None
            found = await self._joined(flight, ask) if flight else None
            if found is None and self._newest.get(ask.session) is not ask:
                return nothing("superseded")
            return found or await self._flights.wait(self._start(ask, on_text), GRACE_SECONDS)
        finally:
            if self._newest.get(ask.session) is ask:
                del self._newest[ask.session]

    async def _joined(self, flight: Flight[Suggested], ask: ResolvedRequest) -> Suggested | None:
        """The rest of `flight`'s answer at this cursor; None where the two turn out to disagree."""
        found = await self._flights.wait(flight, GRACE_SECONDS)
        choice = found.choices[0]
        if choice.finish_reason in ENDED:
            return None
        text = continuation(Remembered(flight.scope, flight.prefix, flight.suffix, choice.text), ask.prefix)
        return None if text is None else replace(found, choices=[choice.model_copy(update={"text": text})])

    def _start(self, ask: ResolvedRequest, on_text: OnText | None) -> Flight[Suggested]:
        """A new generation for `ask`."""
        flight = Flight[Suggested](ask.scope, ask.prefix, ask.suffix, wanted=ask.prefix)
        cursor = Cursor.at(ask.prefix, ask.suffix)

        def work(ticket: Ticket) -> Steps[Suggested]:
            def heard(text: str) -> None:
                shown = cursor.after_held(text) or ""
                flight.heard(cursor.in_document(shown), ticket)
                if on_text is not None:
                    on_text(shown)

            return self._suggest(ask, cursor, ticket, heard)

        flight.ticket, future = self._scheduler.submit(work, ask.session, ask.seconds, background=ask.max_tokens == 0)
        flight.landed = landing(_land(flight.ticket, future))
        late = asyncio.get_running_loop().call_later(ask.seconds, self._scheduler.expire, flight.ticket)
        flight.landed.add_done_callback(lambda _: late.cancel())
        self._flights.add(ask.session if ask.is_repeatable else None, flight)
        return flight


async def _land(ticket: Ticket, future: "Future[Suggested]") -> Suggested:
    try:
        with memory_errors():
            return await asyncio.wrap_future(future)
    except Interrupted as ended:
        return nothing(ended.reason, ticket.queue_ms)


@contextmanager
def memory_errors() -> Generator[None]:
    """Map the model's MemoryError to the request's error."""
    try:
        yield
    except MemoryError as error:
        raise OutOfMemory("The model ran out of memory: lower --context-tokens or serve a smaller base.") from error
