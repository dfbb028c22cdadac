"""Types on the wire: requests and answers of `/complete`, and the problem document of every error."""

from collections.abc import Sized
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from starling_server.config import Mode, Reason

Finish = Reason | Literal["nothing", "stop", "length", "deadline", "superseded", "cancelled"]
"""Why a generation ended. `stop`: the model or a text that the request names; `length`: `max_tokens`."""
ENDED: frozenset[Finish] = frozenset({"deadline", "superseded", "cancelled"})
"""Reasons of answers that are not whole."""
OpenAIFinish = Literal["stop", "length"]


def openai_finish(reason: Finish) -> OpenAIFinish:
    """`reason` as OpenAI's API has it: `length` for every text that was cut short by a limit."""
    return "length" if reason == "length" or reason in ENDED else "stop"


MOST_STOPS = 64
StopText = Annotated[str, Field(min_length=1, max_length=200)]


MOST_PIECES, LONGEST_PIECE, LONGEST_PATH, LONGEST_WHY = 64, 10_000, 1_000, 100
"""Pieces of other files in a request, and characters of each."""


def at_most(count: int) -> BeforeValidator:
    """Check a list's length before its items are validated, of which there may be a million."""

    def check(value: Any) -> Any:
        if isinstance(value, list | tuple) and len(cast(Sized, value)) > count:
            raise PydanticCustomError(
                "too_long",
                "{sent} items were sent, {count} at most are accepted",
                {"sent": len(cast(Sized, value)), "count": count},
            )
        return value

    return BeforeValidator(check)


class ContextPiece(BaseModel):
    """A piece of another file of the repository."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(default="", max_length=LONGEST_PATH, description="Its path in the repository, with '/'.")
    text: str = Field(max_length=LONGEST_PIECE)
    why: str = Field(
        default="", max_length=LONGEST_WHY, description="Why it was chosen, to be shown; not in the prompt."
    )


class CompleteRequest(BaseModel):
    """A cursor, and how to suggest there. Only `prefix` is required."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prefix: str = Field(description="The document's text before the cursor.")
    suffix: str = Field(default="", description="The document's text after the cursor.")
    path: str | None = Field(default=None, description="The document's path, for the log; not part of the prompt.")
    language: str | None = Field(
        default=None,
        description="The document's language as an LSP id, such as python or typescriptreact; its syntax decides the "
        "extent of a suggestion. Not part of the prompt.",
    )
    context: Annotated[
        tuple[ContextPiece, ...], Field(max_length=MOST_PIECES, fail_fast=True), at_most(MOST_PIECES)
    ] = Field(
        default=(),
        description="Pieces of other files, most important first. They go before the document's text in the prompt, as "
        "many as `--repository-tokens` permits. While they stay the same, a key costs one token.",
    )
    adapter: str | None = Field(
        default=None,
        max_length=500,
        description="An adapter's name, or `base` for the bare base; default: the server's.",
    )
    session: str | None = Field(
        default=None,
        max_length=2048,
        description="One per editor and document: its newest request supersedes older ones.",
    )
    max_tokens: int | None = Field(
        default=None,
        ge=0,
        le=512,
        description="Max tokens of a choice. 0 only prefills the prompt, at low priority, so that the next request "
        "there is answered sooner.",
    )
    temperature: float = Field(default=0.0, ge=0.0, le=2.0, description="0 is greedy.")
    top_p: float = Field(
        default=1.0,
        gt=0.0,
        le=1.0,
        description="With a temperature: sample from the most likely tokens that make up this probability.",
    )
    seed: int | None = Field(default=None, ge=0, lt=2**63, description="Makes sampling repeatable.")
    stop: Annotated[tuple[StopText, ...], Field(max_length=MOST_STOPS, fail_fast=True), at_most(MOST_STOPS)] = Field(
        default=(), description="Texts that end a suggestion; not included in it."
    )
    n: int = Field(
        default=1,
        ge=1,
        le=8,
        description="Choices; equal ones are merged. More than one needs a temperature.",
    )
    mode: Mode | None = Field(default=None, description="One line, a block, or decided by the cursor's position.")
    comments: bool = Field(default=True, description="Whether to suggest inside comments.")
    deadline_ms: int | None = Field(
        default=None, ge=1, le=600_000, description="Return partial output after this many milliseconds."
    )
    stream: bool = Field(default=False, description="Answer with server-sent events.")
    show_prompt: bool = Field(default=False, description="Return the model's prompt in the answer's `prompt`.")

    @model_validator(mode="after")
    def _choices_differ(self) -> Self:
        if self.n > 1 and self.temperature == 0:
            raise ValueError("n is above 1 and temperature 0, where all choices are equal: set a temperature above 0")
        return self


class Choice(BaseModel):
    """One suggestion; `text` may be empty: nothing to suggest."""

    text: str
    finish_reason: Finish


class ShownPiece(BaseModel):
    """A piece of another file in a prompt."""

    path: str
    why: str = Field(description="As the request says: `import`, `name` or `similar` from Starling's language server.")
    tokens: int = Field(description="What it takes of the prompt, its path included.")


class Usage(BaseModel):
    """Token counts; `cached_tokens` of the prompt came from the prefix cache.

    Of the completion's tokens, `accepted_tokens` were accepted drafts.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0


class Timings(BaseModel):
    """Milliseconds of the server's clock."""

    queue_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    total_ms: float = 0.0


class CompleteResponse(BaseModel):
    """The answer; `choices[0]` is the one to show."""

    id: str
    base: str
    adapter: str | None
    choices: list[Choice] = Field(min_length=1)
    usage: Usage
    timings: Timings
    repository_tokens: int | None = Field(
        default=None,
        description="Max tokens of the prompt for `context`; 0 where adapter and base have not learnt to read it.",
    )
    prompt: str | None = Field(
        default=None,
        description="With `show_prompt`: the prompt's tokens as text. Null where the model did not run, because the "
        "answer was cached or the cursor's position gets no suggestion.",
    )
    pieces: list[ShownPiece] | None = Field(
        default=None, description="With `show_prompt`: the pieces of other files in the prompt, most important first."
    )


class TextEvent(BaseModel):
    """While streaming: text generated since the last event, not trimmed yet. The `done` event has the final text."""

    delta: str


class Health(BaseModel):
    """Whether the process is alive, and whether its model is loaded; names only for those who may ask."""

    status: Literal["ok", "loading"]
    base: str | None = None
    adapters: list[str] = []


class AdapterState(BaseModel):
    """One adapter by the name that requests use."""

    name: str
    version: str | None = Field(description="Changes with the adapter's files; null where nothing can be served.")
    loaded: bool = Field(description="Whether it is in memory; it is loaded when first asked for.")
    bytes: int = Field(description="Memory that it takes now.")
    broken: str | None = Field(description="Why its newest files are not used.")


class AdapterList(BaseModel):
    """The adapters of this base; `default` answers requests that name none."""

    default: str | None
    adapters: list[AdapterState]


class Problem(BaseModel):
    """RFC 9457 problem document; `detail` is one sentence that says what to do."""

    type: str
    title: str
    status: int
    detail: str
