"""What a model writes after a prompt as it stands: no window, no syntax, no trimming. `/v1/completions` is for it.

Suggestions are `service`'s; this is for clients that write the whole prompt themselves, and for servers like ours
that are asked to compute only.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from starling_server.completion.service import HALF_CHARACTER, OnText, Service
from starling_server.engine.backend import Backend
from starling_server.engine.engine import Finish, Job, Steps, Usage
from starling_server.engine.protocols import GREEDY, Likely, Sampling
from starling_server.engine.scheduler import Interrupted, Ticket
from starling_server.errors import UnreadablePrompt
from starling_server.owners import ALONE, Owner
from starling_server.postprocess.stops import TextStop


@dataclass(frozen=True, slots=True)
class Continuation:
    """What is asked for."""

    prompt: list[int]
    """At least one id."""
    max_tokens: int
    adapter: str | None = None
    """None is the bare base."""
    sampling: Sampling = GREEDY
    stop: tuple[str, ...] = ()
    """Texts that end it and are not part of it."""
    logprobs: int | None = None
    """How many of the likeliest tokens are wanted beside each one that is written; None for nothing of the kind."""
    owner: Owner = ALONE
    """Whose prompt it is."""


@dataclass(frozen=True, slots=True)
class Written:
    """What came of it."""

    text: str = ""
    finish: Finish = "length"
    usage: Usage = field(default_factory=Usage)
    likely: list[Likely] = field(default_factory=list[Likely])
    """Of each token, where they were asked for; with a stop there may be more of them than text."""


async def write(service: Service, asked: Continuation, seconds: float, on_text: OnText | None = None) -> Written:
    """Go on after the prompt for `seconds` at most; cancelling the task stops the model.

    Raises UnreadablePrompt, UnknownAdapter, OutOfMemory.
    `on_text` hears, on the worker's thread, the text so far as far as no stop can take it back.
    """
    check(service, asked)
    try:
        return await service.run(_work(service, asked, on_text), seconds)
    except Interrupted as ended:
        return Written(finish=ended.reason)


def check(service: Service, asked: Continuation) -> None:
    """Raise UnreadablePrompt where the prompt leaves no room to write, or logits are wanted that are not here."""
    if asked.logprobs is not None and not service.backend.engine.has_logits:
        raise UnreadablePrompt("Another server computes for this one and tells it no likelihoods: leave out logprobs.")
    room = service.backend.engine.runner.context
    if len(asked.prompt) >= room:
        raise UnreadablePrompt(
            f"The prompt has {len(asked.prompt)} tokens and the model reads {room - 1} at most: send less of it."
        )


def _work(service: Service, asked: Continuation, on_text: OnText | None) -> Callable[[Ticket], Steps[Written]]:
    stops = service.backend.fim.stops

    def work(ticket: Ticket) -> Steps[Written]:
        with service.adapters.hold(asked.adapter) as adapter:
            job = Job(
                asked.prompt,
                asked.max_tokens,
                stops,
                asked.sampling,
                adapter,
                asked.logprobs,
                ticket.interrupted,
                owner=asked.owner,
            )
            return (yield from _written(service.backend, job, TextStop(asked.stop), on_text))

    return work


def _written(backend: Backend, job: Job, stop: TextStop, on_text: OnText | None) -> Steps[Written]:
    generation = backend.engine.generate(job)
    text, ids, at = "", list[int](), None
    try:
        while at is None and (token := (yield from generation.next())) is not None:
            ids.append(token)
            text = backend.tokenizer.decode(ids).rstrip(HALF_CHARACTER)
            at = stop(text)
            if on_text is not None and at is None:
                on_text(text[: len(text) - stop.may_begin(text)])
    finally:
        generation.close()
    finish, used = generation.finish if at is None else "stop", generation.usage
    return Written(text[:at], finish, used, generation.likely[: used.completion_tokens])
