"""The in-process engine, which uses the completion service. Engines on other servers are in `remote`."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol, runtime_checkable

from starling_server.completion.service import Service
from starling_server.config import Mode, ModelConfig, ServiceConfig
from starling_server.context import block
from starling_server.context.wire import carried
from starling_server.engine.protocols import AdapterId
from starling_server.models.adapters import BARE, Adapter
from starling_server.models.manifest import prompt_format
from starling_server.schema import CompleteRequest, ContextPiece
from starling_server.serve.start import start
from starling_training.examples.dataset import Writer
from starling_training.examples.others import Others
from starling_training.examples.spans import Hole
from starling_training.scoring.trials import Answer

PATIENCE_MS = 600_000


@dataclass(frozen=True, slots=True)
class Manner:
    """The parameters of a request to an engine."""

    mode: Mode = "auto"
    temperature: float = 0.0
    seed: int | None = None
    session: str | None = None
    """Identifies a typing user, whose requests may be answered from earlier suggestions."""
    scored: bool = True
    """Whether to compute the loss on the true middle, if the engine supports it."""
    others: Others | None = None
    """Pieces of other files for each hole; None sends none."""

    def context(self, hole: Hole) -> tuple[ContextPiece, ...]:
        """The pieces that a request at `hole` carries."""
        return carried(self.others.of(hole)) if self.others is not None else ()


PLAIN = Manner()


class Engine(Protocol):
    """Completes holes."""

    async def ask(self, hole: Hole, manner: Manner = PLAIN) -> Answer:
        """The text to insert at the hole; raises RequestError."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """A runner that computes log-probabilities of text."""

    def score(self, adapter: AdapterId | None, ids: list[int], start: int) -> list[float]:
        """Negative log-probability in nats of each of `ids[start:]`, given all ids before it."""
        ...


@dataclass(frozen=True, slots=True)
class InProcess:
    """The completion service with one adapter, or without (`BARE`)."""

    service: Service
    adapter: str
    writer: Writer

    @property
    def repository_tokens(self) -> int:
        """Max tokens of other files in its prompts."""
        return self.writer.repository_tokens

    async def ask(self, hole: Hole, manner: Manner = PLAIN) -> Answer:
        """The service's answer, with the loss on the same prompt."""
        context = manner.context(hole) if self.writer.repository_tokens else ()
        request = CompleteRequest(
            prefix=hole.prefix, suffix=hole.suffix, adapter=self.adapter, mode=manner.mode, session=manner.session,
            temperature=manner.temperature, seed=manner.seed, context=context,
        )  # fmt: skip
        began = perf_counter()
        response = await self.service.complete(request)
        ms = (perf_counter() - began) * 1e3
        nats, tokens = self._loss(hole, context) if manner.scored else (None, 0)
        choice, used = response.choices[0], response.usage
        stopped = choice.finish_reason != "length"
        return Answer(choice.text, stopped, nats, tokens, ms, used.prompt_tokens, used.cached_tokens)

    def _loss(self, hole: Hole, context: Sequence[ContextPiece]) -> tuple[float | None, int]:
        """Nats of the true middle with its end token, and their number of tokens; None if they exceed the context."""
        runner = self.service.backend.engine.runner
        made = self.writer.hole(hole, others=context)
        if not isinstance(runner, Scorer) or len(made.ids) > runner.context:
            return None, 0
        version = self.service.adapters.resolve(self.adapter)
        scores = runner.score(version.key if version else None, made.ids, made.prompt_tokens)
        return -sum(scores), len(scores)


@contextmanager
def served(
    model: ModelConfig,
    context_tokens: int,
    max_tokens: int,
    adapter: Adapter | None = None,
    repository_tokens: int | None = None,
) -> Generator[Service]:
    """A service for a base, with its adapter or bare, configured as for editors but without a time limit."""
    config = ServiceConfig(
        max_tokens=max_tokens, context_tokens=context_tokens, deadline_ms=PATIENCE_MS, prefetch=False,
        repository_tokens=repository_tokens,
    )  # fmt: skip
    service = start(model, config, [adapter] if adapter else [])
    try:
        yield service
    finally:
        service.close()


def in_process(service: Service, adapter: str = BARE) -> InProcess:
    """The engine over `service`; the loss is computed on the prompts used to serve the adapter."""
    version = service.adapters.resolve(adapter)
    sizes = (version.fim.context_tokens, version.fim.max_tokens) if version else _sizes(service)
    written = prompt_format(service.backend.fim, version.fim if version else None)
    tokens = block.limit(service.config.repository_tokens, written, version.fim if version else None)
    return InProcess(service, adapter, Writer(service.backend.tokenizer, written, *sizes, tokens))


def _sizes(service: Service) -> tuple[int, int]:
    context = min(service.config.context_tokens, service.backend.engine.runner.context)
    return context, service.config.max_tokens
