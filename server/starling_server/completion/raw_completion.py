"""What a model writes after a prompt as it stands: no window, no syntax, no trimming. `/v1/completions` is for it.

Suggestions are `service`'s; this is for clients that write the whole prompt themselves, and for servers like ours
that are asked to compute only.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from starling_server.completion.service import HALF_CHARACTER, Model, OnText, Service
from starling_server.engine.engine import Finish, Job, Steps, Usage
from starling_server.engine.protocols import Likelihoods, Logits, Sampler
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
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    """Texts that end it and are not part of it."""
    likelihoods: int | None = None
    """How many of the likeliest tokens are wanted beside each one that is written; None for nothing of the kind."""
    owner: Owner = ALONE
    """Whose prompt it is."""


@dataclass(frozen=True, slots=True)
class Likely:
    """One written token, its log-probability in nats, and the likeliest ids in its place with theirs."""

    token: int
    nats: float
    best: list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Written:
    """What came of it."""

    text: str = ""
    finish: Finish = "length"
    usage: Usage = field(default_factory=Usage)
    likely: list[Likely] = field(default_factory=list["Likely"])
    """Of each token, where they were asked for; with a stop there may be more of them than text."""


async def write(service: Service, asked: Continuation, seconds: float, on_text: OnText | None = None) -> Written:
    """Go on after the prompt for `seconds` at most; cancelling the task stops the model.

    Raises UnreadablePrompt, UnknownAdapter, OutOfMemory.
    `on_text` hears, on the worker's thread, the text so far as far as no stop can take it back.
    """
    check(service, asked)
    try:
        return await service.run(_work(service.model, asked, on_text), seconds)
    except Interrupted as ended:
        return Written(finish=ended.reason)


def check(service: Service, asked: Continuation) -> None:
    """Raise UnreadablePrompt where the prompt leaves no room to write, or logits are wanted that are not here."""
    if asked.likelihoods is not None and service.model.likelihoods is None:
        raise UnreadablePrompt("Another server computes for this one and tells it no likelihoods: leave out logprobs.")
    room = service.model.engine.runner.context
    if len(asked.prompt) >= room:
        raise UnreadablePrompt(
            f"The prompt has {len(asked.prompt)} tokens and the model reads {room - 1} at most: send less of it."
        )


def _work(model: Model, asked: Continuation, on_text: OnText | None) -> Callable[[Ticket], Steps[Written]]:
    def work(ticket: Ticket) -> Steps[Written]:
        sample = model.sampler(asked.temperature, asked.seed, asked.top_p)
        likely = list[Likely]()
        if asked.likelihoods is not None and model.likelihoods is not None:
            sample = _noting(sample, model.likelihoods, asked.likelihoods, likely)
        with model.shelf.hold(asked.adapter) as adapter:
            stops, interrupted = model.fim.stops, ticket.interrupted
            job = Job(asked.prompt, asked.max_tokens, stops, sample, adapter, interrupted, owner=asked.owner)
            written = yield from _written(model, job, TextStop(asked.stop), on_text)
        return replace(written, likely=likely[: written.usage.completion_tokens])

    return work


def _noting(sample: Sampler, likelihoods: Likelihoods, most: int, likely: list[Likely]) -> Sampler:
    """`sample`, which also notes how likely its choices were. Nothing is drafted here, so each is a token."""

    def noted(logits: Logits) -> int:
        token = sample(logits)
        likely.append(Likely(token, *likelihoods(logits, token, most)))
        return token

    return noted


def _written(model: Model, job: Job, stop: TextStop, on_text: OnText | None) -> Steps[Written]:
    generation = model.engine.generate(job)
    text, ids, at = "", list[int](), None
    try:
        while at is None and (token := (yield from generation.next())) is not None:
            ids.append(token)
            text = model.tokenizer.decode(ids).rstrip(HALF_CHARACTER)
            at = stop(text)
            if on_text is not None and at is None:
                on_text(text[: len(text) - stop.may_begin(text)])
    finally:
        generation.close()
    return Written(text[:at], generation.finish if at is None else "stop", generation.usage)
