"""From a request to an answer: window, prompt, engine, stop, trim. The one object that LSP and HTTP share."""

import asyncio
import logging
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import TypeVar
from uuid import uuid4

from starling_server import fim, stops, window
from starling_server.config import Mode, ServiceConfig
from starling_server.drafts import Drafter
from starling_server.engine import Finish, Generates, Job, Steps, Usage
from starling_server.errors import OutOfMemory, Overloaded
from starling_server.extent import decide
from starling_server.flights import GRACE_SECONDS, Flight, Flights, landing
from starling_server.observer import Nobody, Observer, ending
from starling_server.owners import ALONE, Owner
from starling_server.recall import Recall, Remembered, continuation
from starling_server.runner import Likelihoods, Sampler
from starling_server.scheduler import Interrupted, Scheduler, Session, Ticket
from starling_server.schema import ENDED, Choice, CompleteRequest, CompleteResponse, Timings
from starling_server.schema import Usage as WireUsage
from starling_server.shelf import Shelf
from starling_server.stops import Stop, TextStop
from starling_server.trim import Place, trim

log = logging.getLogger(__name__)
T = TypeVar("T")
OnText = Callable[[str], None]
"""Called on the worker's thread with the raw text so far."""
HALF_CHARACTER = "\ufffd"
DRAFT_ANSWERS = 4
"""Newest answers of the session that drafts are looked for in."""


@dataclass(frozen=True, slots=True)
class Model:
    """What the service needs of a loaded base."""

    id: str
    engine: Generates
    tokenizer: fim.Vocabulary
    fim: fim.Fim
    shelf: Shelf
    sampler: Callable[[float, int | None, float], Sampler]
    """From temperature, seed and `top_p`."""
    device: str = "cpu"
    """Where it computes, for a person."""
    likelihoods: Likelihoods | None = None
    """None where no logits are here."""


@dataclass(frozen=True, slots=True)
class _Ask:
    """A request with every default filled in."""

    prefix: str
    suffix: str
    adapter: str | None
    version: str | None
    """Of the adapter."""
    owner: Owner
    session: tuple[Owner, str] | None
    """The name is the owner's own choice: another's session of the same name is another session."""
    max_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    stop: tuple[str, ...]
    n: int
    mode: Mode
    language: str | None
    comments: bool
    seconds: float
    show_prompt: bool

    @property
    def scope(self) -> tuple[object, ...]:
        """What the remembered answers of this request have in common."""
        asked = (self.max_tokens, self.mode, self.language, self.comments, self.stop)
        return (self.session, self.adapter, self.version, *asked)

    @property
    def memorable(self) -> bool:
        """Whether asking again, as an editor does with every key, would give the same answer."""
        return self.session is not None and self.temperature == 0 and self.n == 1 and self.max_tokens > 0


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What the worker's thread brings back."""

    choices: list[Choice]
    usage: Usage
    queue_ms: float
    prompt: str | None = None
    """Where it was asked for."""


class Service:
    """Answers requests; every method is safe to call from one event loop while the worker runs."""

    def __init__(self, model: Model, config: ServiceConfig) -> None:
        self.model = model
        self.config = config
        self.observer: Observer = Nobody()
        runner = model.engine.runner
        self.scheduler = Scheduler(model.engine.feed, runner.rows, 1 + runner.draft, config.queue)
        self._flights = Flights[_Outcome](self.scheduler.cancel)
        self._recall = Recall()
        self._newest: dict[Session, _Ask] = {}
        self._ahead: _Ask | None = None

    async def complete(
        self, request: CompleteRequest, on_text: OnText | None = None, owner: Owner = ALONE
    ) -> CompleteResponse:
        """Answer `request` of `owner`; raises UnknownAdapter, Overloaded, Stalled, OutOfMemory.

        Cancelling the task stops the model.
        """
        await self.model.shelf.find(request.adapter)
        ask = self._resolve(request, owner)
        try:
            response = await self._complete(request, ask, on_text)
        except BaseException as error:
            self.observer.failed(ask.adapter, ending(error))
            raise
        self.observer.answered(response)
        return response

    async def _complete(self, request: CompleteRequest, ask: _Ask, on_text: OnText | None) -> CompleteResponse:
        started = perf_counter()
        remembered = self._recall.find(ask.scope, ask.prefix, ask.suffix) if ask.memorable else None
        if remembered is not None:
            outcome = _Outcome([Choice(text=remembered, finish_reason="stop")], Usage(), 0.0)
        else:
            outcome = await self._ask_model(ask, on_text)
        self._look_ahead(ask, outcome.choices[0])
        total_ms, used = (perf_counter() - started) * 1e3, outcome.usage
        log.debug(
            "%s (%s): %s in %.0f ms, prompt %d of which cached %d, generated %d",
            request.path, request.language, outcome.choices[0].finish_reason, total_ms,
            used.prompt_tokens, used.cached_tokens, used.completion_tokens,
        )  # fmt: skip
        return self._respond(ask, outcome, total_ms)

    def remembers(self, request: CompleteRequest) -> bool:
        """Whether `complete` would answer from memory."""
        ask = self._resolve(request)
        return ask.memorable and self._recall.find(ask.scope, ask.prefix, ask.suffix) is not None

    async def check(self, request: CompleteRequest) -> None:
        """Raise what `complete` would raise at once, without asking the model."""
        await self.model.shelf.find(request.adapter)
        self._resolve(request)
        if self.scheduler.full:
            raise Overloaded("Too many requests wait already: try again later, or raise --queue.")

    async def run(self, work: Callable[[Ticket], Steps[T]], seconds: float) -> T:
        """What other work for the model brings; it ends after `seconds`, or as soon as this task is cancelled.

        Raises Interrupted where it ended before it began, OutOfMemory.
        """
        ticket, future = self.scheduler.submit(work, None, seconds)
        late = asyncio.get_running_loop().call_later(seconds, self.scheduler.expire, ticket)
        try:
            with _memory():
                return await asyncio.wrap_future(future)
        finally:
            late.cancel()
            self.scheduler.cancel(ticket)

    @property
    def generations(self) -> tuple[int, int]:
        """How many the model has begun for somebody so far, and how many run now."""
        return self.scheduler.begun, self.scheduler.running

    def close(self, seconds: float | None = None) -> None:
        """Stop the worker, waiting that long at most; running requests end as cancelled."""
        self.scheduler.close(seconds)

    def _resolve(self, request: CompleteRequest, owner: Owner = ALONE) -> _Ask:
        adapter = self.model.shelf.resolve(request.adapter)
        return _Ask(
            prefix=request.prefix,
            suffix=request.suffix,
            adapter=adapter,
            version=self.model.shelf.version(adapter),
            owner=owner,
            session=None if request.session is None else (owner, request.session),
            max_tokens=self.config.max_tokens if request.max_tokens is None else request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            stop=request.stop,
            n=request.n,
            mode=request.mode or self.config.mode,
            language=request.language,
            comments=request.comments,
            seconds=(request.deadline_ms or self.config.deadline_ms) / 1e3,
            show_prompt=request.show_prompt,
        )

    async def _ask_model(self, ask: _Ask, on_text: OnText | None) -> _Outcome:
        """From a generation that is under way and leads here, else from one of its own."""
        if not ask.memorable:
            return await self._flights.wait(self._start(ask, on_text), 0)
        assert ask.session is not None
        self._newest[ask.session] = ask
        try:
            flight = self._flights.find(ask.session, ask.scope, ask.prefix, ask.suffix) if on_text is None else None
            outcome = await self._ride(flight, ask) if flight else None
            if outcome is None and self._newest.get(ask.session) is not ask:
                return _nothing("superseded")
            return outcome or await self._flights.wait(self._start(ask, on_text), GRACE_SECONDS)
        finally:
            if self._newest.get(ask.session) is ask:
                del self._newest[ask.session]

    async def _ride(self, flight: Flight[_Outcome], ask: _Ask) -> _Outcome | None:
        """What `flight` brings, seen from further on; None where it does not lead here after all."""
        outcome = await self._flights.wait(flight, GRACE_SECONDS)
        choice = outcome.choices[0]
        if choice.finish_reason in ENDED:
            return None
        answer = Remembered(flight.scope, flight.prefix, flight.suffix, choice.text)
        text = continuation(answer, ask.prefix)
        return (
            None if text is None else replace(outcome, choices=[Choice(text=text, finish_reason=choice.finish_reason)])
        )

    def _start(self, ask: _Ask, on_text: OnText | None) -> Flight[_Outcome]:
        """A generation of its own for `ask`."""
        flight = Flight[_Outcome](ask.scope, ask.prefix, ask.suffix, wanted=ask.prefix)
        newline = _newline(ask)
        line = window.normalize(ask.prefix).rpartition("\n")[2]

        def work(ticket: Ticket) -> Steps[_Outcome]:
            def heard(text: str) -> None:
                shown = window.behind_held(text, line) or ""
                flight.heard(shown.replace("\n", newline), ticket)
                if on_text is not None:
                    on_text(shown)

            return self._generate(ask, ticket, heard)

        background = ask.max_tokens == 0
        flight.ticket, future = self.scheduler.submit(work, ask.session, ask.seconds, background)
        flight.landed = landing(_land(flight.ticket, future))
        late = asyncio.get_running_loop().call_later(ask.seconds, self.scheduler.expire, flight.ticket)
        flight.landed.add_done_callback(lambda _: late.cancel())
        self._flights.add(ask.session if ask.memorable else None, flight)
        return flight

    def _remember(self, ask: _Ask, choice: Choice) -> None:
        """Keep a whole answer for the keys that follow it, whoever still waits for it. On the worker's thread."""
        if ask.memorable and choice.finish_reason not in ENDED:
            self._recall.add(Remembered(ask.scope, ask.prefix, ask.suffix, choice.text, ask.owner.client))

    def _look_ahead(self, ask: _Ask, choice: Choice) -> None:
        """Compute in the background, once, what follows the acceptance of `choice`."""
        if not (self.config.prefetch and ask.memorable and choice.text) or choice.finish_reason in ENDED:
            return
        accepted = replace(ask, prefix=ask.prefix + choice.text)
        known = self._recall.find(accepted.scope, accepted.prefix, accepted.suffix) is not None
        if accepted != self._ahead and not known:
            self._ahead = accepted
            self.scheduler.submit(
                lambda ticket: self._generate(accepted, ticket, None), None, accepted.seconds, background=True
            )

    def _generate(self, ask: _Ask, ticket: Ticket, on_text: OnText | None) -> Steps[_Outcome]:
        """On the worker's thread: the answer under the adapter's newest version, which stays in memory meanwhile."""
        with self.model.shelf.hold(ask.adapter) as adapter:
            return (yield from self._answer(ask, ticket, adapter, on_text))

    def _answer(self, ask: _Ask, ticket: Ticket, adapter: str | None, on_text: OnText | None) -> Steps[_Outcome]:
        """All choices of one request; equal ones are given once."""
        place = Place(window.normalize(ask.prefix), window.normalize(ask.suffix))
        extent = decide(place.prefix, place.suffix, ask.language, ask.mode, ask.comments)
        if extent == "nothing":
            return _nothing("nothing", ticket.queue_ms)
        cut = window.fit(ask.prefix, ask.suffix, self._budget(ask), self._encode(ask))
        prompt = self.model.fim.prompt(cut.prefix, cut.suffix)
        rules = stops.rules(extent, place.prefix, place.suffix, self.config.rules)
        rules += [TextStop(ask.stop)] if ask.stop else []
        usage, choices = Usage(), dict[str, Choice]()
        for number in range(ask.n):
            seed = None if ask.seed is None else ask.seed + number
            sample = self.model.sampler(ask.temperature, seed, ask.top_p)
            drafter = self._drafter(ask, prompt) if self.config.drafts else None
            ends, interrupted, owner = self.model.fim.stops, ticket.interrupted, ask.owner
            job = Job(prompt, ask.max_tokens, ends, sample, adapter, interrupted, drafter, owner)
            text, finish, used = yield from self._choose(rules, place, job, on_text if number == 0 else None)
            choice = Choice(text=text.replace("\n", _newline(ask)), finish_reason=finish)
            usage = used if number == 0 else usage.and_more(used)
            choices.setdefault(choice.text, choice)
        shown = self.model.tokenizer.decode(prompt) if ask.show_prompt else None
        outcome = _Outcome(list(choices.values()), usage, ticket.queue_ms, shown)
        self._remember(ask, outcome.choices[0])
        return outcome

    def _choose(
        self, rules: Sequence[Stop], place: Place, job: Job, on_text: OnText | None
    ) -> Steps[tuple[str, Finish, Usage]]:
        """One choice: decode until the model or a stop ends it, then trim."""
        generation = self.model.engine.generate(job)
        text, ids, fired = "", list[int](), None
        try:
            while fired is None and (token := (yield from generation.next())) is not None:
                ids.append(token)
                text = self.model.tokenizer.decode(ids).rstrip(HALF_CHARACTER)
                fired = stops.first(rules, text)
                if on_text is not None and fired is None:
                    on_text(text)
        finally:
            generation.close()
        at, finish = fired or (None, generation.finish)
        whole = text[:at] if fired else _whole_lines(text, generation.finish)
        return trim(whole, place), finish, generation.usage

    def _drafter(self, ask: _Ask, prompt: list[int]) -> Callable[[], Drafter]:
        """What drafts are looked for in: this session's newest answers, then the prompt."""

        def make() -> Drafter:
            answers = self._recall.newest(ask.scope, DRAFT_ANSWERS)
            return Drafter([*(self._encode(ask)(answer) for answer in answers), prompt])

        return make

    def _encode(self, ask: _Ask) -> window.Encode:
        """The tokenizer with what it remembers of this client's text."""
        return partial(self.model.tokenizer.encode, client=ask.owner.client)

    def _budget(self, ask: _Ask) -> int:
        """Tokens for prefix and suffix: those that the adapter was trained with."""
        trained, room = self.model.shelf.trained(ask.adapter), self.model.engine.runner.context
        if trained is not None:
            return window.budget(min(trained.context_tokens, room), trained.max_tokens)
        context = min(self.config.context_tokens, room)
        return window.budget(context, min(max(ask.max_tokens, self.config.max_tokens), context // 2))

    def _respond(self, ask: _Ask, outcome: _Outcome, total_ms: float) -> CompleteResponse:
        used = outcome.usage
        return CompleteResponse(
            id=uuid4().hex,
            base=self.model.id,
            adapter=ask.adapter,
            choices=outcome.choices,
            usage=WireUsage(
                prompt_tokens=used.prompt_tokens,
                cached_tokens=used.cached_tokens,
                completion_tokens=used.completion_tokens,
                drafted_tokens=used.drafted_tokens,
                accepted_tokens=used.accepted_tokens,
            ),
            timings=Timings(
                queue_ms=outcome.queue_ms, prefill_ms=used.prefill_ms, decode_ms=used.decode_ms, total_ms=total_ms
            ),
            prompt=outcome.prompt,
        )


async def _land(ticket: Ticket, future: "Future[_Outcome]") -> _Outcome:
    try:
        with _memory():
            return await asyncio.wrap_future(future)
    except Interrupted as ended:
        return _nothing(ended.reason, ticket.queue_ms)


@contextmanager
def _memory() -> Generator[None]:
    """The model's lack of memory as the request's error."""
    try:
        yield
    except MemoryError as error:
        raise OutOfMemory("The model ran out of memory: lower --context-tokens or serve a smaller base.") from error


def _nothing(reason: Finish, queue_ms: float = 0.0) -> _Outcome:
    return _Outcome([Choice(text="", finish_reason=reason)], Usage(), queue_ms)


def _newline(ask: _Ask) -> str:
    """The document's own."""
    return "\r\n" if "\r\n" in ask.prefix or "\r\n" in ask.suffix else "\n"


def _whole_lines(text: str, finish: Finish) -> str:
    """Text that was cut short keeps its complete lines, or its only one as far as it goes."""
    if finish == "stop" or "\n" not in text.strip():
        return text
    return text[: text.rindex("\n")]
