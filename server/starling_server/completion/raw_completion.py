"""Raw continuations of a prompt as it stands: no window, no syntax, no trimming. `/v1/completions` serves them.

For clients that write the whole prompt themselves, and for other Starling servers that leave computing to this one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from starling_server.completion.completer import OnText, decode
from starling_server.completion.service import Service
from starling_server.engine.engine import Job, Steps, Usage
from starling_server.engine.protocols import GREEDY, Likely, Sampling
from starling_server.engine.scheduler import Interrupted, Ticket
from starling_server.errors import UnreadablePrompt
from starling_server.models.adapter_versions import AdapterVersion
from starling_server.owners import ALONE, Owner
from starling_server.postprocess import stops
from starling_server.postprocess.stops import TextStop
from starling_server.schema import Finish


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
    """Number of most likely tokens to report beside each generated token; None reports nothing."""
    owner: Owner = ALONE
    """Owner of the prompt."""


@dataclass(frozen=True, slots=True)
class Written:
    """One continuation."""

    text: str = ""
    finish: Finish = "length"
    usage: Usage = field(default_factory=Usage)
    likely: list[Likely] = field(default_factory=list[Likely])
    """One entry per generated token, where logprobs were requested; may reach past the text where a stop cut it."""


async def write(service: Service, asked: Continuation, seconds: float, on_text: OnText | None = None) -> Written:
    """Continue the prompt for `seconds` at most; cancelling the task stops the model.

    Raises UnreadablePrompt, UnknownAdapter, OutOfMemory. `on_text` gets, on the worker's thread, the text so far up to
    where a stop text may have begun.
    """
    check(service, asked)
    try:
        return await service.run(_work(service, asked, on_text), seconds)
    except Interrupted as ended:
        return Written(finish=ended.reason)


def check(service: Service, asked: Continuation) -> None:
    """Raise UnreadablePrompt where the prompt fills the context, or for logprobs where the logits are elsewhere."""
    if asked.logprobs is not None and not service.backend.engine.has_logits:
        raise UnreadablePrompt(
            "logprobs is not available here, because the server of --engine does not return them: leave it out."
        )
    room = service.backend.engine.runner.context
    if len(asked.prompt) >= room:
        raise UnreadablePrompt(
            f"The prompt has {len(asked.prompt)} tokens and the model reads {room - 1} at most: send less of it."
        )


def _work(service: Service, asked: Continuation, on_text: OnText | None) -> Callable[[Ticket], Steps[Written]]:
    completer, stop = service.completer, TextStop(asked.stop)

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
                ticket.interrupted,
                owner=asked.owner,
            )
            found = yield from decode(completer.backend, job, lambda text: stops.first([stop], text), heard)
            likely = found.likely[: found.usage.completion_tokens]
            return Written(found.text[: found.end], found.finish, found.usage, likely)

    return work
