"""The service that the language server and every HTTP endpoint share: sessions, cached suggestions, prefetch, queue.

What a request's text becomes is `completer`'s; this decides whether the model has to run for it, and when.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import TypeVar
from uuid import uuid4

from starling_server.completion.completer import Completer, OnText, Suggested
from starling_server.completion.observer import Nobody, Observer, ending
from starling_server.completion.resolved_request import ResolvedRequest, resolved
from starling_server.completion.sessions import Sessions, memory_errors
from starling_server.completion.suggestion_cache import Recall, Remembered
from starling_server.config import ServiceConfig
from starling_server.context import block
from starling_server.engine.backend import Backend
from starling_server.engine.engine import Steps
from starling_server.engine.job_queue import Ticket
from starling_server.engine.scheduler import Scheduler
from starling_server.errors import Overloaded
from starling_server.models.adapter_registry import AdapterRegistry
from starling_server.models.adapter_versions import AdapterVersion
from starling_server.owners import ALONE, Owner
from starling_server.prompt.cursor import Cursor
from starling_server.schema import ENDED, Choice, CompleteRequest, CompleteResponse

log = logging.getLogger(__name__)
T = TypeVar("T")
DRAFT_ANSWERS = 4
"""Newest answers of the session that are searched for drafts."""


class Service:
    """Answers requests. Every method may be called from one event loop while the worker runs."""

    def __init__(self, backend: Backend, adapters: AdapterRegistry, config: ServiceConfig) -> None:
        self.completer = Completer(backend, config)
        self.adapters = adapters
        self.observer: Observer = Nobody()
        runner = backend.engine.runner
        self.scheduler = Scheduler(backend.engine.feed, runner.rows, 1 + runner.draft, config.queue)
        self._sessions = Sessions(self.scheduler, self._suggest)
        self._recall = Recall()
        self._ahead: ResolvedRequest | None = None

    @property
    def backend(self) -> Backend:
        """The loaded base."""
        return self.completer.backend

    @property
    def config(self) -> ServiceConfig:
        """Defaults of requests, and which rules are on."""
        return self.completer.config

    async def complete(
        self, request: CompleteRequest, on_text: OnText | None = None, owner: Owner = ALONE
    ) -> CompleteResponse:
        """Answer `request` of `owner`; raises UnknownAdapter, Overloaded, Stalled, OutOfMemory.

        Cancelling the task stops the model.
        """
        return await self.answer(await self.resolve(request, owner), on_text)

    async def resolve(self, request: CompleteRequest, owner: Owner = ALONE) -> ResolvedRequest:
        """`request` with its defaults and its adapter's version; raises UnknownAdapter."""
        await self.adapters.find(request.adapter)
        return self._resolved(request, owner)

    def resolve_for(self, request: CompleteRequest, adapter: AdapterVersion | None, owner: Owner) -> ResolvedRequest:
        """`request` with its defaults, for an adapter that was looked up, or the bare base."""
        limit = block.limit(self.config.repository_tokens, self.backend.fim, adapter.fim if adapter else None)
        return resolved(request, adapter, owner, self.config, limit)

    async def answer(self, ask: ResolvedRequest, on_text: OnText | None = None) -> CompleteResponse:
        """Answer a resolved request, as `complete` does."""
        try:
            response = await self._respond(ask, on_text)
        except BaseException as error:
            self.observer.failed(ask.adapter_name, ending(error))
            raise
        self.observer.answered(response)
        return response

    def remembers(self, request: CompleteRequest) -> bool:
        """Whether the answer to `request` is cached."""
        ask = self._resolved(request, ALONE)
        return ask.is_repeatable and self._cached(ask) is not None

    def check(self) -> None:
        """Raise Overloaded where the queue is full."""
        if self.scheduler.full:
            raise Overloaded("Too many requests are waiting: try again later, or raise --queue.")

    async def run(self, work: Callable[[Ticket], Steps[T]], seconds: float) -> T:
        """Run other work on the worker's thread; it ends after `seconds`, or as soon as this task is cancelled.

        Raises Interrupted where it ended before it began, OutOfMemory.
        """
        ticket, future = self.scheduler.submit(work, None, seconds)
        late = asyncio.get_running_loop().call_later(seconds, self.scheduler.expire, ticket)
        try:
            with memory_errors():
                return await asyncio.wrap_future(future)
        finally:
            late.cancel()
            self.scheduler.cancel(ticket)

    @property
    def generations(self) -> tuple[int, int]:
        """Foreground generations begun so far, and generations that run now."""
        return self.scheduler.begun, self.scheduler.running

    def close(self, seconds: float | None = None) -> None:
        """Stop the worker, waiting that long at most; running requests end as cancelled."""
        self.scheduler.close(seconds)

    def _resolved(self, request: CompleteRequest, owner: Owner) -> ResolvedRequest:
        return self.resolve_for(request, self.adapters.resolve(request.adapter), owner)

    def _cached(self, ask: ResolvedRequest) -> str | None:
        return self._recall.find(ask.scope, ask.prefix, ask.suffix)

    async def _respond(self, ask: ResolvedRequest, on_text: OnText | None) -> CompleteResponse:
        started = perf_counter()
        cached = self._cached(ask) if ask.is_repeatable else None
        if cached is not None:
            found = Suggested([Choice(text=cached, finish_reason="stop")])
        else:
            found = await self._sessions.generate(ask, on_text)
        self._look_ahead(ask, found.choices[0])
        total_ms, used = (perf_counter() - started) * 1e3, found.usage
        log.debug(
            "%s (%s): %s in %.0f ms, prompt %d of which cached %d, generated %d",
            ask.path, ask.language, found.choices[0].finish_reason, total_ms,
            used.prompt_tokens, used.cached_tokens, used.completion_tokens,
        )  # fmt: skip
        return _response(self.backend.id, ask, found, total_ms)

    def _suggest(
        self, ask: ResolvedRequest, cursor: Cursor, ticket: Ticket, on_text: OnText | None
    ) -> Steps[Suggested]:
        """On the worker's thread: generate, and cache a whole answer for the keys that follow, whoever waits for it."""

        def recent() -> list[str]:
            return self._recall.newest(ask.scope, DRAFT_ANSWERS)

        with self.adapters.hold(ask.adapter) as adapter:
            steps = self.completer.suggest(ask, cursor, adapter, ticket.interrupted, recent, on_text)
            found = replace((yield from steps), queue_ms=ticket.queue_ms)
        choice = found.choices[0]
        is_whole = choice.finish_reason not in {*ENDED, "nothing"}
        if ask.is_repeatable and is_whole and adapter == ask.adapter:
            self._recall.add(Remembered(ask.scope, ask.prefix, ask.suffix, choice.text, ask.owner.client))
        return found

    def _look_ahead(self, ask: ResolvedRequest, choice: Choice) -> None:
        """Compute in the background, once, what follows the acceptance of `choice`."""
        if not (self.config.prefetch and ask.is_repeatable and choice.text) or choice.finish_reason in ENDED:
            return
        accepted = replace(ask, prefix=ask.prefix + choice.text)
        if accepted != self._ahead and self._cached(accepted) is None:
            self._ahead = accepted
            cursor = Cursor.at(accepted.prefix, accepted.suffix)
            self.scheduler.submit(
                lambda ticket: self._suggest(accepted, cursor, ticket, None), None, accepted.seconds, background=True
            )


def _response(base: str, ask: ResolvedRequest, found: Suggested, total_ms: float) -> CompleteResponse:
    return CompleteResponse(
        id=uuid4().hex,
        base=base,
        adapter=ask.adapter_name,
        choices=found.choices,
        usage=found.usage.on_wire(),
        timings=found.usage.timings(found.queue_ms, total_ms),
        repository_tokens=ask.repository_tokens,
        prompt=found.prompt,
        pieces=found.pieces,
    )
