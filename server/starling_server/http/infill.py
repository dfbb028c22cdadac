"""`/infill`: llama.cpp's format, so that llama.vim and llama.vscode need only the server's address.

The answer is a suggestion as `/complete` gives it. The prompt is Starling's, with the typed text at its end, so
llama.cpp's cache settings do not apply.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import Request, Response
from fastapi.sse import format_sse_event
from pydantic import BaseModel, ConfigDict, Field

from starling_server.completion.completer import OnText
from starling_server.completion.resolved_request import ResolvedRequest
from starling_server.completion.service import Service
from starling_server.errors import RequestError
from starling_server.http.complete import Api
from starling_server.http.models import resolve
from starling_server.http.responses import Streamed, answer, streamed
from starling_server.owners import Owner
from starling_server.schema import (
    LONGEST_PATH,
    LONGEST_PIECE,
    MOST_PIECES,
    MOST_STOPS,
    CompleteRequest,
    CompleteResponse,
    ContextPiece,
    StopText,
    at_most,
)

MOST_TOKENS = 512
MOST_CHUNKS, MOST_FIELDS = 1024, 100
STOP_TYPES: dict[str, str] = {"length": "limit", "deadline": "limit", "stop": "eos"}
"""llama.cpp's stop type by finish reason; Starling's own stops are `word`."""
StopType = Literal["eos", "limit", "word", "none"]


class Chunk(BaseModel):
    """A piece of another file."""

    model_config = ConfigDict(extra="ignore")

    text: str = ""
    filename: str | None = None


Stops = Annotated[list[StopText], Field(max_length=MOST_STOPS, fail_fast=True), at_most(MOST_STOPS)]
Fields = Annotated[list[str], Field(max_length=MOST_FIELDS, fail_fast=True), at_most(MOST_FIELDS)]
Chunks = Annotated[list[Chunk], Field(max_length=MOST_CHUNKS, fail_fast=True), at_most(MOST_CHUNKS)]


class InfillRequest(BaseModel):
    """The llama.cpp fields that are used here; all others (samplers, slots, caches) are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    input_prefix: str = Field(default="", description="The document before the cursor's line, or up to the cursor.")
    prompt: str = Field(default="", description="The cursor's line up to the cursor: goes after `input_prefix`.")
    input_suffix: str = Field(default="", description="The document after the cursor.")
    input_extra: Chunks = Field(
        default=[],
        description=f"Pieces of other files, the most important last. The last {MOST_PIECES} go into the prompt as "
        "`context` of `/complete` does.",
    )
    model: str | None = Field(default=None, max_length=500, description="As in `/v1/completions`.")
    n_predict: int | None = Field(
        default=None, ge=-2, le=2**31,
        description=f"Most tokens, {MOST_TOKENS} at most; below 0 the server's default, and 0 only reads the prompt.",
    )  # fmt: skip
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="Greedy without it: `samplers`, `top_k` and `min_p` are not looked at."
    )
    top_p: float | None = Field(default=None, gt=0, le=1, description="Counts with a temperature.")
    seed: int | None = Field(default=None, ge=-1, lt=2**63, description="-1 is any.")
    stop: Stops | None = None
    t_max_predict_ms: int | None = Field(
        default=None,
        description="Not used: suggestions end where the place calls for it, and by the server's deadline.",
    )
    stream: bool = False
    response_fields: Fields | None = Field(
        default=None,
        description="Only these of the answer, as `timings/prompt_n` under that very name.",
    )


class InfillTimings(BaseModel):
    """llama.cpp's figures; `prompt_n` were computed now, `cache_n` before."""

    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float


class InfillResponse(BaseModel):
    """The whole answer; with `response_fields` an object of what was asked for."""

    index: int = 0
    content: str
    stop: bool = True
    stop_type: StopType
    stopping_word: str = ""
    model: str
    tokens_predicted: int
    tokens_evaluated: int
    tokens_cached: int
    truncated: bool = False
    timings: InfillTimings


Selected = dict[str, Any]
"""What `response_fields` left of an answer, flat."""


class Infill:
    """The route's method."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(self, body: InfillRequest, request: Request) -> Response:
        """Suggest what comes between `input_prefix` with `prompt`, and `input_suffix`.

        With `stream`, server-sent events: the content, trimmed and so in one piece, then the rest with `stop: true`.
        """
        service = self._api.loaded()
        adapter = await resolve(service, body.model)
        asked = service.resolve_for(suggestion(body), adapter, Owner(request.state.client))
        if body.stream:
            return Streamed(_events(service, asked, body), service.config.seconds)
        return await answer(request, _answered(service, asked, body))


def suggestion(body: InfillRequest) -> CompleteRequest:
    """The same request in Starling's format, without its adapter."""
    most = None if body.n_predict is None or body.n_predict < 0 else min(body.n_predict, MOST_TOKENS)
    seed = None if body.seed is None or body.seed < 0 else body.seed
    return CompleteRequest(
        prefix=body.input_prefix + body.prompt, suffix=body.input_suffix, max_tokens=most,
        temperature=body.temperature or 0.0, top_p=body.top_p or 1.0, seed=seed, stop=tuple(body.stop or ()),
        context=tuple(map(_piece, body.input_extra[: -MOST_PIECES - 1 : -1])),
    )  # fmt: skip


def _piece(chunk: Chunk) -> ContextPiece:
    """The beginning of a chunk: llama.cpp takes any length. Half of a surrogate pair becomes a question mark."""
    path, text = (part.encode("utf-8", "replace").decode() for part in (chunk.filename or "", chunk.text))
    return ContextPiece(path=path[:LONGEST_PATH], text=text[:LONGEST_PIECE])


def infilled(found: CompleteResponse) -> InfillResponse:
    """A suggestion in llama.cpp's format."""
    choice, used, times = found.choices[0], found.usage, found.timings
    computed = used.prompt_tokens - used.cached_tokens
    timings = InfillTimings(
        cache_n=used.cached_tokens,
        prompt_n=computed, prompt_ms=times.prefill_ms,
        prompt_per_token_ms=_share(times.prefill_ms, computed),
        prompt_per_second=_share(computed * 1e3, times.prefill_ms),
        predicted_n=used.completion_tokens, predicted_ms=times.decode_ms,
        predicted_per_token_ms=_share(times.decode_ms, used.completion_tokens),
        predicted_per_second=_share(used.completion_tokens * 1e3, times.decode_ms),
    )  # fmt: skip
    return InfillResponse.model_validate({
        "content": choice.text, "stop_type": STOP_TYPES.get(choice.finish_reason, "word"),
        "model": found.adapter or found.base, "tokens_predicted": used.completion_tokens,
        "tokens_evaluated": used.prompt_tokens, "tokens_cached": used.prompt_tokens + used.completion_tokens,
        "timings": timings,
    })  # fmt: skip


def selected(whole: dict[str, Any], fields: list[str]) -> Selected:
    """The values that `fields` name, nested ones by a path with slashes; missing ones are left out."""
    found = dict[str, Any]()
    for field in fields:
        value: Any = whole
        for part in field.split("/"):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            found[field] = value
    return found


async def _answered(service: Service, asked: ResolvedRequest, body: InfillRequest) -> dict[str, Any]:
    whole = infilled(await service.answer(asked)).model_dump()
    return whole if body.response_fields is None else selected(whole, body.response_fields)


async def _events(service: Service, asked: ResolvedRequest, body: InfillRequest) -> AsyncGenerator[bytes]:
    async def start(_: OnText) -> CompleteResponse:
        return await service.answer(asked)

    try:
        async with aclosing(streamed(start)) as items:
            async for item in items:
                assert not isinstance(item, str)
                whole = infilled(item).model_dump()
                yield _event({"index": 0, "content": whole["content"], "stop": False})
                whole["content"] = ""
                yield _event(whole if body.response_fields is None else selected(whole, body.response_fields))
    except RequestError as error:
        yield _event({"error": {"message": str(error), "type": error.kind, "code": error.status}})


def _event(part: dict[str, Any]) -> bytes:
    return format_sse_event(data_str=json.dumps(part))


def _share(amount: float, of: float) -> float:
    """0 where `of` is 0."""
    return amount / of if of else 0.0
