"""`/v1/completions`: OpenAI's format. With a suffix the result is a suggestion, without one a raw continuation."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from time import monotonic, time
from uuid import uuid4

from fastapi import Request, Response
from fastapi.sse import format_sse_event

from starling_server.completion.completer import OnText
from starling_server.completion.raw_completion import Continuation, Written, check, fitted, write
from starling_server.completion.resolved_request import ResolvedRequest
from starling_server.completion.service import Service
from starling_server.engine.backend import Backend
from starling_server.engine.protocols import Sampling
from starling_server.errors import Overloaded, RequestError, UnreadablePrompt
from starling_server.http.complete import Api
from starling_server.http.completions_wire import (
    MOST_TOKENS,
    Choice,
    Completion,
    CompletionRequest,
    CompletionUsage,
)
from starling_server.http.logprobs import logprobs
from starling_server.http.models import resolve
from starling_server.http.responses import Streamed, answer, streamed, together
from starling_server.models.adapter_versions import AdapterVersion
from starling_server.models.foreign_prompt import Parts, taken_apart
from starling_server.owners import ALONE, Owner
from starling_server.schema import CompleteRequest, OpenAIFinish, Usage, openai_finish


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a choice; the last part has a finish reason."""

    text: str
    index: int
    finish: OpenAIFinish | None = None


class Completions:
    """The route's method."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(self, body: CompletionRequest, request: Request) -> Response:
        """Go on after `prompt`, or suggest what comes between `prompt` and `suffix`.

        With `stream`, server-sent events of the same shape, ended by `[DONE]`.
        """
        service = self._api.loaded()
        adapter = await resolve(service, body.model)
        owner = Owner(request.state.client, body.cache_salt or "")
        model = adapter.name if adapter else service.backend.id
        begun = Completion(id=f"cmpl-{uuid4().hex}", created=int(time()), model=model, choices=[])
        if (wanted := await asyncio.to_thread(suggestion, service, body)) is not None:
            asked = service.resolve_for(wanted, adapter, owner)
            await request.state.place.cost(body.choices)
            if body.stream:
                return _stream(service, begun, body, suggested_pieces(service, asked))
            return await answer(request, _suggested(service, asked, begun))
        generations = len(body.prompts) * body.choices
        at_once = 1 if body.stream else generations
        await request.state.place.cost(generations, at_once)
        if not service.scheduler.fits(at_once):
            raise Overloaded(f"There is no room for {at_once} more generations to wait: try again, or raise --queue.")
        raw = await asyncio.to_thread(continuations, service, body, adapter, owner)  # 2 MB take a second to encode
        if body.stream:
            return _stream(service, begun, body, written_pieces(service, raw, bool(body.echo)))
        return await answer(request, _written(service, raw, bool(body.echo), begun))


def suggestion(service: Service, body: CompletionRequest) -> CompleteRequest | None:
    """The same request in Starling's format, without its adapter; None for a raw continuation.

    A request for a suggestion has a `suffix`, or one raw prompt in the spelling of a family that the base does not
    belong to; such a prompt that is echoed or scored stays as it is.
    """
    most, prompt = None if body.max_tokens is None else min(body.max_tokens, MOST_TOKENS), body.prompts[0]
    parts = None
    if body.suffix is not None and isinstance(prompt, str):
        parts = Parts(prompt, body.suffix)
    elif service.config.foreign_prompts and len(body.prompts) == 1 and isinstance(prompt, str) and not body.is_exact:
        parts = taken_apart(prompt, service.backend.tokenizer)
    return parts and CompleteRequest(
        prefix=parts.prefix, suffix=parts.suffix, max_tokens=most, temperature=body.draw,
        top_p=body.top_p or 1.0, seed=body.seed, stop=body.stops, n=body.choices,
    )  # fmt: skip


def continuations(
    service: Service, body: CompletionRequest, adapter: AdapterVersion | None, owner: Owner = ALONE
) -> list[Continuation]:
    """One for each choice of each prompt; raises UnreadablePrompt. What is echoed or scored is never cut."""
    most = service.config.max_tokens if body.max_tokens is None else min(body.max_tokens, MOST_TOKENS)
    scored = bool(body.echo) and body.logprobs is not None
    made = list[Continuation]()
    for prompt in body.prompts:
        ids = _ids(service.backend, prompt)
        ids = ids if body.echo else fitted(service, ids, most)
        for number in range(body.choices):
            seed = None if body.seed is None else body.seed + number
            sampling = Sampling(body.draw, body.top_p or 1.0, seed)
            made.append(Continuation(ids, most, adapter, sampling, body.stops, body.logprobs, scored, owner))
            check(service, made[-1])
    return made


def _ids(backend: Backend, prompt: str | list[int]) -> list[int]:
    """A prompt's ids; for an empty prompt the id before a document."""
    if isinstance(prompt, str):
        return backend.tokenizer.encode_marked(prompt) or [backend.fim.end]
    if max(prompt) >= backend.tokenizer.size:
        raise UnreadablePrompt(
            f"prompt has the token id {max(prompt)}, and this base has {backend.tokenizer.size} "
            "tokens: use its tokenizer."
        )
    return prompt


async def _suggested(service: Service, asked: ResolvedRequest, begun: Completion) -> Completion:
    found = await service.answer(asked)
    choices = [
        Choice(text=each.text, index=at, finish_reason=openai_finish(each.finish_reason))
        for at, each in enumerate(found.choices)
    ]
    return begun.model_copy(update={"choices": choices, "usage": CompletionUsage.total([found.usage])})


async def _written(service: Service, raw: Sequence[Continuation], echo: bool, begun: Completion) -> Completion:
    found = await together([write(service, asked, service.config.seconds) for asked in raw])
    tokenizer = service.backend.tokenizer

    def told(at: int, asked: Continuation, each: Written) -> Choice:
        echoed = tokenizer.decode(asked.prompt) if echo else ""
        scores = None if asked.logprobs is None else logprobs(tokenizer, asked, each, echoed)
        return Choice(text=echoed + each.text, index=at, finish_reason=openai_finish(each.finish), logprobs=scores)

    def choices_told() -> list[Choice]:
        return [told(at, asked, each) for at, (asked, each) in enumerate(zip(raw, found, strict=True))]

    choices = await asyncio.to_thread(choices_told)  # many log-probabilities take seconds to put into words
    return begun.model_copy(
        update={"choices": choices, "usage": CompletionUsage.total([each.usage.on_wire() for each in found])}
    )


async def suggested_pieces(service: Service, asked: ResolvedRequest) -> AsyncGenerator[Piece | CompletionUsage]:
    """Each choice is one chunk, since a suggestion is trimmed as a whole."""

    async def start(_: OnText) -> Completion:
        return await _suggested(service, asked, Completion(id="", created=0, model="", choices=[]))

    async with aclosing(streamed(start)) as items:
        async for item in items:
            assert not isinstance(item, str)
            for choice in item.choices:
                yield Piece(choice.text, choice.index, choice.finish_reason)
            if item.usage:
                yield item.usage


async def written_pieces(
    service: Service, raw: Sequence[Continuation], echo: bool
) -> AsyncGenerator[Piece | CompletionUsage]:
    """The choices one after the other, as they are generated, within one deadline; then their total usage."""
    spent = list[Usage]()
    due = monotonic() + service.config.seconds
    for at, asked in enumerate(raw):
        sent, left = "", due - monotonic()
        if echo:
            yield Piece(service.backend.tokenizer.decode(asked.prompt), at)
        if left <= 0:
            yield Piece("", at, "length")
            continue
        async with aclosing(streamed(lambda tell, asked=asked, left=left: write(service, asked, left, tell))) as items:
            async for item in items:
                if isinstance(item, Written):
                    spent.append(item.usage.on_wire())
                    yield Piece(item.text[len(sent) :], at, openai_finish(item.finish))
                else:
                    sent += item
                    yield Piece(item, at)
    yield CompletionUsage.total(spent)


def _stream(
    service: Service, begun: Completion, body: CompletionRequest, pieces: AsyncGenerator[Piece | CompletionUsage]
) -> Response:
    with_usage = bool(body.stream_options and body.stream_options.include_usage)
    return Streamed(_events(begun, with_usage, pieces), service.config.seconds)


async def _events(
    begun: Completion, with_usage: bool, pieces: AsyncGenerator[Piece | CompletionUsage]
) -> AsyncGenerator[bytes]:
    """Server-sent events; an error after the status was sent has the form that OpenAI's client expects."""
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                if isinstance(piece, Piece):
                    choice = Choice(text=piece.text, index=piece.index, finish_reason=piece.finish)
                    yield _event(begun.model_copy(update={"choices": [choice]}))
                elif with_usage:
                    yield _event(begun.model_copy(update={"usage": piece}))
        yield format_sse_event(data_str="[DONE]")
    except RequestError as error:
        failed = {"error": {"message": str(error), "type": error.kind, "code": error.status}}
        yield format_sse_event(data_str=json.dumps(failed))


def _event(part: Completion) -> bytes:
    return format_sse_event(data_str=part.model_dump_json())
