"""Raw continuations of a prompt as it stands: no window, no syntax, no trimming. `/v1/completions` serves them.

For clients that write the whole prompt themselves, and for other Starling servers that leave computing to this one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from starling_server.completion.completer import OnText, decode
from starling_server.completion.service import Service
from starling_server.engine.engine import Job, Steps, Usage
from starling_server.engine.job_queue import Interrupted, Ticket
from starling_server.engine.protocols import GREEDY, Likely, Sampling
from starling_server.errors import Overloaded, UnreadablePrompt
from starling_server.models.adapter_versions import AdapterVersion
from starling_server.owners import ALONE, Owner
from starling_server.postprocess import stops
from starling_server.postprocess.stops import CharacterStop, TextStop
from starling_server.prompt.raw_prompt import shorten
from starling_server.schema import ENDED, Finish


@dataclass(frozen=True, slots=True)
class Continuation:
    """A request for one continuation."""

    prompt: list[int]
    """At least one id."""
    max_tokens: int
    adapter: AdapterVersion | None = None
    """None is the bare base."""
    sampling: Sampling = GREEDY
    stop: tuple[str, ...] = ()
    """Texts that end it and are not part of it."""
    logprobs: int | None = None
    """Number of most likely tokens to report beside each token; None reports nothing."""
    scores_prompt: bool = False
    """Whether to report the prompt's tokens too."""
    owner: Owner = ALONE
    """Owner of the prompt."""


@dataclass(frozen=True, slots=True)
class Written:
    """One continuation."""

    text: str = ""
    finish: Finish = "length"
    usage: Usage = field(default_factory=Usage)
    likely: list[Likely] = field(default_factory=list[Likely])
    """One entry per generated token, where logprobs were requested, and one for the id by which the model ended; may
    reach past the text where a stop cut it."""
    prompt_likely: list[Likely] = field(default_factory=list[Likely])
    """One entry per prompt token but the first, where the prompt is scored."""
    is_cut: bool = False
    """Whether one of the request's stop texts cut it."""


async def write(service: Service, asked: Continuation, seconds: float, on_text: OnText | None = None) -> Written:
    """Continue the prompt for `seconds` at most; cancelling the task stops the model.

    Raises UnreadablePrompt, UnknownAdapter, OutOfMemory, and Overloaded for a prompt that could not be scored in time.
    `on_text` gets, on the worker's thread, the text so far up to where a stop text may have begun.
    """
    check(service, asked)
    try:
        written = await service.run(_work(service, asked, on_text), seconds)
    except Interrupted as ended:
        written = Written(finish=ended.reason)
    if asked.scores_prompt and written.finish in ENDED:  # a sum over fewer tokens would look like a better one
        raise Overloaded(
            f"The prompt's logprobs took longer than {seconds:g} seconds: send fewer or shorter prompts at once, or "
            "raise --deadline-ms."
        )
    return written


def fitted(service: Service, prompt: list[int], max_tokens: int) -> list[int]:
    """A raw FIM prompt that leaves room for an answer (`raw_prompt.shorten`); any other prompt as it is."""
    backend = service.backend
    room = backend.engine.runner.context - min(max_tokens, service.config.max_tokens)
    if len(prompt) <= room:
        return prompt
    tokenizer = backend.tokenizer
    return shorten(prompt, room, backend.fim, tokenizer.encode_marked, tokenizer.decode) or prompt


def check(service: Service, asked: Continuation) -> None:
    """Raise UnreadablePrompt where the prompt fills the context, or for logprobs where the logits are elsewhere."""
    if asked.logprobs is not None and not service.backend.engine.has_logits:
        raise UnreadablePrompt(
            "logprobs is not available here, because the server of --engine does not return them: leave it out."
        )
    most = service.backend.engine.runner.context - min(1, asked.max_tokens)
    if len(asked.prompt) > most:
        raise UnreadablePrompt(
            f"The prompt has {len(asked.prompt)} tokens and the model reads {most} at most: send less of it."
        )


def _work(service: Service, asked: Continuation, on_text: OnText | None) -> Callable[[Ticket], Steps[Written]]:
    completer, stop = service.completer, TextStop(asked.stop)
    rules = [stop, CharacterStop()]

    def heard(text: str) -> None:
        if on_text is not None:
            on_text(text[: len(text) - stop.may_begin(text)])

    def work(ticket: Ticket) -> Steps[Written]:
        with service.adapters.hold(asked.adapter) as adapter:
            job = Job(
                asked.prompt,
                asked.max_tokens,
                completer.backend.fim.stops,
                asked.sampling,
                adapter.key if adapter else None,
                asked.logprobs,
                asked.scores_prompt,
                ticket.interrupted,
                owner=asked.owner,
            )
            found = yield from decode(completer.backend, job, lambda text: stops.first(rules, text), heard)
            is_cut = found.end is not None and found.finish == stop.reason
            text = found.text[: found.end]
            return Written(text, found.finish, found.usage, found.likely, found.prompt_likely, is_cut)

    return work
