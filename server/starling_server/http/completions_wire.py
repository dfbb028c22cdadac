"""OpenAI's shape of a completion, as far as it is served: what `/v1/completions` and `/v1/models` take and answer."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from starling_server.schema import MOST_STOPS, OpenAIFinish, StopText, Usage, at_most

Text = Annotated[str, Field(max_length=2_000_000)]
MOST_IDS = 200_000
Ids = Annotated[
    list[Annotated[int, Field(ge=0, lt=2**31)]],
    Field(min_length=1, max_length=MOST_IDS, fail_fast=True),
    at_most(MOST_IDS),
]
MOST_TOKENS = 512
MOST_PROMPTS = 64
Item = TypeVar("Item")
Several = Annotated[list[Item], Field(min_length=1, max_length=MOST_PROMPTS, fail_fast=True), at_most(MOST_PROMPTS)]
Stops = Annotated[list[StopText], Field(max_length=MOST_STOPS, fail_fast=True), at_most(MOST_STOPS)]


def _kind(value: Any) -> str | None:
    """Which of the forms of `prompt` or `stop` this is, by its first item; only that form is then checked."""
    if isinstance(value, str):
        return "text"
    first: Any = value[0] if isinstance(value, list) and value else None
    if isinstance(first, list):
        return "lists"
    return {str: "texts", int: "ids"}.get(type(first))


def _stop_kind(value: Any) -> str | None:
    """The same of `stop`, of which there may be none."""
    return "texts" if value == [] else _kind(value)


def _by_kind(message: str, kind: Callable[[Any], str | None] = _kind) -> Discriminator:
    return Discriminator(kind, custom_error_type="kind", custom_error_message=message)


Prompt = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[Ids, Tag("ids")]
    | Annotated[Several[Text], Tag("texts")]
    | Annotated[Several[Ids], Tag("lists")],
    _by_kind(f"a text, a list of ids, or a list of 1 to {MOST_PROMPTS} of either is accepted"),
]
Stop = Annotated[
    Annotated[str, Field(max_length=200), Tag("text")] | Annotated[Stops, Tag("texts")],
    _by_kind(f"a text, or a list of up to {MOST_STOPS} texts that are not empty, is accepted", _stop_kind),
]
NOT_SERVED: dict[str, tuple[Any, ...]] = {
    "logit_bias": (None, {}), "presence_penalty": (None, 0), "frequency_penalty": (None, 0),
}  # fmt: skip
"""Fields that would change what comes back, and the values with which they do not."""


class StreamOptions(BaseModel):
    """Last event of a stream."""

    include_usage: bool = Field(default=False, description="A last event with the counts and without choices.")


class CompletionRequest(BaseModel):
    """OpenAI's fields; others, which clients send to other servers, are not looked at."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: str | None = Field(
        default=None,
        max_length=500,
        description="An adapter's name, `base` or the base's id for the bare base; `starling` or nothing is the "
        "server's default.",
    )
    prompt: Prompt = Field(
        description="With `suffix`: the document's text before the cursor, and nothing in it is special. Without: "
        "what the model goes on writing after, as it stands; here, and only here, the spelling of one of the base's "
        "special tokens (`<fim_prefix>`) is that token, and one fill-in-the-middle prompt in another family's spelling "
        "is answered as with `suffix`. Also ids, or several of one kind.",
    )
    suffix: Text | None = Field(
        default=None,
        description="The document's text after the cursor. With it, also empty, the answer is a suggestion as "
        "`/complete` gives it: windowed, stopped where the place calls for it, and trimmed; it streams in one piece.",
    )
    max_tokens: int | None = Field(
        default=None, ge=0, le=2**31, description=f"The server's default without it; {MOST_TOKENS} at most."
    )
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="0 (greedy) without it, or 0.8 where `n` is above 1."
    )
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    n: int | None = Field(default=None, ge=1, le=8, description="Choices for each prompt.")
    best_of: int | None = Field(default=None, ge=1, le=8, description="`n`, or nothing.")
    stop: Stop | None = Field(default=None, description="Texts that end a choice and are not part of it; 64 at most.")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    echo: bool | None = Field(default=None, description="Begin each choice with its prompt; not with `suffix`.")
    user: str | None = Field(default=None, description="Not looked at.")
    cache_salt: str | None = Field(
        default=None,
        max_length=200,
        description="As vLLM has it: what is kept of the prompt is used again for this salt only. For a client that "
        "asks for several people; a long random text for each, that no other of them can guess.",
    )
    logprobs: int | None = Field(
        default=None,
        ge=0,
        le=5,
        description="How many of the likeliest tokens to tell beside each one, which is told too. Of raw prompts "
        "only, at once and not as a stream, and where the model is in this process; with `echo` of the prompt too.",
    )
    logit_bias: Any = Field(default=None, description="Refused unless empty.")
    presence_penalty: Any = Field(default=None, description="Refused unless 0.")
    frequency_penalty: Any = Field(default=None, description="Refused unless 0.")

    @model_validator(mode="after")
    def _served(self) -> Self:
        for name, harmless in NOT_SERVED.items():
            if getattr(self, name) not in harmless:
                raise ValueError(f"{name} is not supported: leave it out")
        if self.best_of not in (None, self.n or 1):
            raise ValueError("best_of differs from n: leave it out, since every choice is returned")
        if self.logprobs is not None and (self.suffix is not None or self.stream):
            raise ValueError("logprobs cannot be combined with suffix or stream: leave those out")
        if self.suffix is not None and (self.echo or len(self.prompts) > 1 or not isinstance(self.prompts[0], str)):
            raise ValueError("suffix needs one prompt of text and no echo: send one prompt per request")
        if self.choices > 1 and self.temperature == 0:
            raise ValueError("n is above 1 and temperature 0, where all choices are equal: set a temperature above 0")
        return self

    @property
    def is_exact(self) -> bool:
        """Whether the prompt must stay as it stands, because it is told or scored."""
        return bool(self.echo) or self.logprobs is not None

    @property
    def choices(self) -> int:
        """For each prompt."""
        return self.n or 1

    @property
    def draw(self) -> float:
        """The temperature with its default."""
        if self.temperature is not None:
            return self.temperature
        return 0.8 if self.choices > 1 else 0.0

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each prompt as text or ids."""
        if isinstance(self.prompt, str) or isinstance(self.prompt[0], int):
            return [self.prompt]  # pyright: ignore[reportReturnType] - a list of ints is one prompt
        return list(self.prompt)  # pyright: ignore[reportReturnType] - and any other list is several

    @property
    def stops(self) -> tuple[str, ...]:
        """`stop` as several."""
        return (self.stop,) if isinstance(self.stop, str) and self.stop else tuple(self.stop or ())


class Logprobs(BaseModel):
    """Of each token: its text, its log-probability, the likeliest in its place, and where it begins in `text`.

    Nothing precedes the first token of a prompt: its log-probability is null.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class Choice(BaseModel):
    """One text; `index` counts through all prompts, `n` for each."""

    text: str
    index: int
    finish_reason: OpenAIFinish | None
    logprobs: Logprobs | None = None


class PromptDetails(BaseModel):
    """Of the prompts' tokens."""

    cached_tokens: int = 0


class CompletionUsage(BaseModel):
    """Tokens of all prompts and of all choices."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: PromptDetails = PromptDetails()

    @classmethod
    def total(cls, spent: Sequence[Usage]) -> "CompletionUsage":
        """The sum of `spent`."""
        prompt, written = sum(each.prompt_tokens for each in spent), sum(each.completion_tokens for each in spent)
        cached = sum(each.cached_tokens for each in spent)
        return cls(
            prompt_tokens=prompt,
            completion_tokens=written,
            total_tokens=prompt + written,
            prompt_tokens_details=PromptDetails(cached_tokens=cached),
        )


class Completion(BaseModel):
    """The answer, or one event of it."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage | None = None


class ModelCard(BaseModel):
    """The bare base or an adapter."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["starling"] = "starling"


class ModelList(BaseModel):
    """What `model` may name."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
