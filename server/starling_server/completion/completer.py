"""One resolved request to its choices: window, prompt, decode, stop, trim. No sessions and no event loop.

`decode` is the only decode loop: suggestions and raw completions both run it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from starling_server.completion.resolved_request import ResolvedRequest
from starling_server.config import Reason, ServiceConfig
from starling_server.context import block
from starling_server.engine.backend import Backend
from starling_server.engine.engine import Interrupt, Job, Steps, Usage
from starling_server.engine.prompt_lookup import Drafter
from starling_server.engine.protocols import Likely, Sampling
from starling_server.models.adapter_versions import AdapterVersion
from starling_server.models.manifest import FimRecord, prompt_format
from starling_server.postprocess import stops
from starling_server.postprocess.completion_scope import decide
from starling_server.postprocess.filters import trim
from starling_server.postprocess.stops import TextStop
from starling_server.prompt import window
from starling_server.prompt.cursor import Cursor
from starling_server.schema import Choice, Finish, ShownPiece

OnText = Callable[[str], None]
"""Called on the worker's thread with the raw text so far."""
Fired = Callable[[str], tuple[int, Reason] | None]
"""The index to cut the text at and the reason, None to go on."""
Recent = Callable[[], list[str]]
"""Recent answers of the session, a source of drafts."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The text of one generation, not cut yet."""

    text: str
    end: int | None
    """Index at which a stop cuts `text`; None where no stop fired."""
    finish: Finish
    usage: Usage
    likely: list[Likely]
    """One entry per sampled token, an end token included, where the job asks for logprobs."""
    prompt_likely: list[Likely]
    """One entry per prompt token but the first, where the job scores its prompt."""


@dataclass(frozen=True, slots=True)
class Suggested:
    """The choices of one request; equal ones are merged."""

    choices: list[Choice]
    usage: Usage = field(default_factory=Usage)
    queue_ms: float = 0.0
    prompt: str | None = None
    """Where the request asks for it, as `pieces`."""
    pieces: list[ShownPiece] | None = None


@dataclass(frozen=True, slots=True)
class Completer:
    """Generates suggestions and raw continuations with one backend."""

    backend: Backend
    config: ServiceConfig

    def suggest(
        self,
        ask: ResolvedRequest,
        cursor: Cursor,
        adapter: AdapterVersion | None,
        interrupted: Interrupt,
        recent: Recent,
        on_text: OnText | None,
    ) -> Steps[Suggested]:
        """All choices at `cursor` under `adapter`, which is in memory; `on_text` gets the first choice's text."""
        extent = decide(cursor, ask.language, ask.mode, ask.comments)
        if extent == "nothing":
            return nothing("nothing")
        trained = adapter.fim if adapter else None
        prompt, pieces = self._prompt(ask, cursor, trained)
        rules = stops.rules(extent, cursor, self.config.rules) + ([TextStop(ask.stop)] if ask.stop else [])
        usage, choices = Usage(), dict[str, Choice]()
        for number in range(ask.n):
            job = self._job(ask, prompt, number, adapter, interrupted, recent)
            heard = on_text if number == 0 else None
            written = yield from decode(self.backend, job, lambda text: stops.first(rules, text), heard)
            text = cursor.in_document(trim(_kept(written), cursor, sentinels=self.backend.fim.text_sentinels))
            usage = written.usage if number == 0 else usage.and_more(written.usage)
            choices.setdefault(text, Choice(text=text, finish_reason=written.finish))
        if not ask.show_prompt:
            return Suggested(list(choices.values()), usage)
        return Suggested(list(choices.values()), usage, prompt=self.backend.tokenizer.decode(prompt), pieces=pieces)

    def _prompt(
        self, ask: ResolvedRequest, cursor: Cursor, trained: FimRecord | None
    ) -> tuple[list[int], list[ShownPiece]]:
        """The ids of `[other files][suffix][prefix]`, or in the order of the adapter's manifest; and the pieces."""
        tokens, encode, fim = self._budget(ask.max_tokens, trained), self._encode(ask), self.backend.fim
        parts = block.parts(ask.context, block.share(tokens, ask.repository_tokens), fim, encode)
        others = block.joined(parts, fim, encode)
        cut = window.fit(cursor, tokens - len(others), encode)
        shown = [
            ShownPiece(path=piece.path, why=piece.why, tokens=len(ids))
            for piece, ids in zip(ask.context, parts, strict=False)
        ]
        return prompt_format(fim, trained).prompt(cut.prefix, cut.suffix, others=others), shown

    def _job(
        self,
        ask: ResolvedRequest,
        prompt: list[int],
        number: int,
        adapter: AdapterVersion | None,
        interrupted: Interrupt,
        recent: Recent,
    ) -> Job:
        """The generation of choice `number`; each choice has its own seed."""

        def drafter() -> Drafter:
            return Drafter([*map(self._encode(ask), recent()), prompt])

        seed = None if ask.seed is None else ask.seed + number
        return Job(
            prompt,
            ask.max_tokens,
            self.backend.fim.stops,
            Sampling(ask.temperature, ask.top_p, seed),
            adapter.key if adapter else None,
            interrupted=interrupted,
            drafter=drafter if self.config.drafts else None,
            owner=ask.owner,
        )

    def _encode(self, ask: ResolvedRequest) -> window.Encode:
        """The tokenizer with its cache of this client's text."""
        return partial(self.backend.tokenizer.encode, client=ask.owner.client)

    def _budget(self, max_tokens: int, trained: FimRecord | None) -> int:
        """Tokens for prefix and suffix: as many as the adapter was trained with."""
        room, sentinels = self.backend.engine.runner.context, self.backend.fim.sentinels
        if trained is not None:
            return window.budget(min(trained.context_tokens, room), trained.max_tokens, sentinels)
        context = min(self.config.context_tokens, room)
        return window.budget(context, min(max(max_tokens, self.config.max_tokens), context // 2), sentinels)


def decode(backend: Backend, job: Job, fired: Fired, on_text: OnText | None) -> Steps[Decoded]:
    """Run `job` until the model ends it or `fired` cuts its text; `on_text` gets every text that is not cut."""
    generation = backend.engine.generate(job)
    text, ids, cut = "", list[int](), None
    try:
        while cut is None and (token := (yield from generation.next())) is not None:
            ids.append(token)
            text = stops.characters(backend.tokenizer.decode(ids))
            cut = fired(text)
            if on_text is not None and cut is None:
                on_text(text)
    finally:
        generation.close()
    end, finish = cut or (None, generation.finish)
    return Decoded(text, end, finish, generation.usage, generation.likely, generation.prompt_likely)


def nothing(reason: Finish, queue_ms: float = 0.0) -> Suggested:
    """One empty choice."""
    return Suggested([Choice(text="", finish_reason=reason)], queue_ms=queue_ms)


def _kept(written: Decoded) -> str:
    """The text up to the stop; without one, its complete lines, or its only line as far as it goes."""
    text = written.text
    if written.end is not None:
        return text[: written.end]
    if written.finish == "stop" or "\n" not in text.strip():
        return text
    return text[: text.rindex("\n")]
