"""Prefill in chunks, decode, verify drafts, stop, cancel: policy only, over a runner.

A generation is a coroutine: it yields feeds and is sent their logits, so that its driver may run the
steps of several as one forward. Before every step it checks for an interrupt, so a cancelled request costs at most one
more forward, in prefill as in decoding. Computed sequences stay in the prefix cache for the next request.
"""

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Protocol, TypeVar

from starling_server.engine.prefix_cache import CachedSequence, PrefixCache
from starling_server.engine.prompt_lookup import Drafter, agreed
from starling_server.engine.protocols import (
    GREEDY,
    AdapterId,
    Call,
    Feed,
    Likely,
    Logits,
    Rows,
    Runner,
    Sampler,
    Sampling,
    Sizes,
)
from starling_server.owners import ALONE, Owner
from starling_server.schema import Finish, Timings
from starling_server.schema import Usage as WireUsage

log = logging.getLogger(__name__)
T = TypeVar("T")
Steps = Generator[Call, Any, T]
"""Work that yields feeds, is sent their logits, and returns a result; or polls, and is sent what came (see `Call`).
None instead means that it was ended while it waited."""
Feeds = Generator[Feed, Rows | None, T]
"""The same of an engine over a runner: it only feeds."""
Interrupt = Callable[[], Finish | None]
"""Called before every forward; any value but None ends the generation with that reason."""


def never() -> None:
    """An interrupt that never fires."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to generate."""

    prompt: list[int]
    """1 to `context` ids."""
    max_tokens: int
    """Max tokens to generate; 0 only prefills the prompt."""
    stops: frozenset[int]
    """Stop ids; they end the generation and are not included in it."""
    sampling: Sampling = GREEDY
    adapter: AdapterId | None = None
    """None is the bare base."""
    logprobs: int | None = None
    """Number of likeliest ids recorded for each token; None records no log-probabilities."""
    scores_prompt: bool = False
    """Whether they are recorded for the prompt too, all of which is then computed anew; needs `logprobs`."""
    interrupted: Interrupt = never
    drafter: Callable[[], Drafter] | None = None
    """Made when the first draft is wanted; without one each token is a forward of its own."""
    owner: Owner = ALONE
    """Owner of the prompt's text."""


@dataclass(slots=True)
class Usage:
    """Counts and times of one generation, updated as it runs."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    """Accepted drafted tokens."""
    prefill_ms: float = 0.0
    decode_ms: float = 0.0

    def and_more(self, other: "Usage") -> "Usage":
        """The sum of two generations from the same prompt, whose tokens count once."""
        return replace(
            self,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            drafted_tokens=self.drafted_tokens + other.drafted_tokens,
            accepted_tokens=self.accepted_tokens + other.accepted_tokens,
            prefill_ms=self.prefill_ms + other.prefill_ms,
            decode_ms=self.decode_ms + other.decode_ms,
        )

    def on_wire(self) -> WireUsage:
        """Token counts for the response."""
        return WireUsage(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.completion_tokens,
            drafted_tokens=self.drafted_tokens,
            accepted_tokens=self.accepted_tokens,
        )

    def timings(self, queue_ms: float, total_ms: float) -> Timings:
        """Timings for the response."""
        return Timings(queue_ms=queue_ms, prefill_ms=self.prefill_ms, decode_ms=self.decode_ms, total_ms=total_ms)


class Generation:
    """One running job; `finish` and `usage` tell what happened.

    The consumer may stop at any time with `close` (a stop rule fired); the computed sequence is cached.
    A forward that raises ends it, and its sequence is dropped.
    """

    def __init__(self, job: Job, engine: "Engine") -> None:
        self.finish: Finish = "length"
        self.usage = Usage(prompt_tokens=len(job.prompt))
        self.likely = list[Likely]()
        self.prompt_likely = list[Likely]()
        self._job, self._engine = job, engine
        self._sample = self._sampler()
        self._drafter: Drafter | None = None
        self._items = self._run()

    def next(self) -> Steps[int | None]:
        """The next token, None at the end."""
        item = next(self._items, None)
        while isinstance(item, Feed):
            try:
                rows = yield item
            except Exception as error:  # the forward failed: drop the sequence, re-raise
                self._items.throw(error)
                raise
            item = _send(self._items, rows)
        return item

    def __iter__(self) -> Iterator[int]:
        """All tokens, each step a forward of its own."""
        while (token := self._engine.run(self.next())) is not None:
            yield token

    def close(self) -> None:
        """Stop the generation; safe to call twice."""
        self._items.close()

    def _sampler(self) -> Sampler:
        """The runner's sampler, which also records log-probabilities if the job asks for them."""
        runner, logprobs = self._engine.runner, self._job.logprobs
        sample = runner.sampler(self._job.sampling)
        if logprobs is None:
            return sample

        def noted(logits: Logits) -> int:
            token = sample(logits)
            self.likely.append(runner.likelihoods(logits, token, logprobs))
            return token

        return noted

    def _run(self) -> Generator[Feed | int, Rows | None, None]:
        """Feeds to be made, and tokens as they are known."""
        cache = self._engine.prefix_cache
        known = [] if self._job.scores_prompt else self._job.prompt  # of what is cached the logits are gone
        sequence = cache.take(self._job.owner, self._job.adapter, known)
        self.usage.cached_tokens = len(sequence.ids)
        try:
            rows = yield from self._prefill(sequence)
            if rows is not None:
                yield from self._decode(sequence, rows)
        except GeneratorExit:
            cache.put(sequence)
            raise
        except BaseException:
            cache.drop(sequence)
            raise
        cache.put(sequence)

    def _prefill(self, sequence: CachedSequence) -> Feeds[Rows | None]:
        """Prefill the part of the prompt that is not cached; None if interrupted."""
        started, prompt, rows = perf_counter(), self._job.prompt, None
        while len(sequence.ids) < len(prompt):
            piece = prompt[len(sequence.ids) :][: self._engine.chunk]
            rows = yield from self._feed(sequence, piece, len(piece) if self._job.scores_prompt else 1)
            if rows is None:
                return None
            if self._job.scores_prompt:
                self._score(rows, prompt[len(sequence.ids) - len(piece) + 1 : len(sequence.ids) + 1])
            self.usage.prefill_ms = (perf_counter() - started) * 1e3
        return rows

    def _score(self, rows: Rows, following: Sequence[int]) -> None:
        """Record the log-probability of each prompt id by the logits before it."""
        logprobs = self._job.logprobs
        assert logprobs is not None
        likelihoods = self._engine.runner.likelihoods
        self.prompt_likely += [likelihoods(row, token, logprobs) for row, token in zip(rows, following, strict=False)]

    def _decode(self, sequence: CachedSequence, rows: Rows) -> Generator[Feed | int, Rows | None, None]:
        """Give sampled ids; one is fed only when another is wanted after it."""
        started, usage = perf_counter(), self.usage
        room = min(self._job.max_tokens, self._engine.runner.context - len(self._job.prompt))
        known = [self._sample(rows[-1])] if room > 0 else []
        while known:
            for token in known:
                if token in self._job.stops:
                    self.finish = "stop"
                    return
                usage.completion_tokens += 1
                usage.decode_ms = (perf_counter() - started) * 1e3
                yield token
                if usage.completion_tokens == room:
                    return
            known = yield from self._step(sequence, known, room - usage.completion_tokens)

    def _step(self, sequence: CachedSequence, known: Sequence[int], room: int) -> Feeds[list[int]]:
        """What comes after the last of the tokens just given; empty where that was interrupted."""
        draft = self._propose(known, room - 1)
        rows = yield from self._feed(sequence, [known[-1], *draft], 1 + len(draft))
        if rows is None:
            return []
        tokens = agreed(rows, draft, self._sample)
        self._engine.prefix_cache.shorten(sequence, len(sequence.ids) - len(draft) + len(tokens) - 1)
        self.usage.drafted_tokens += len(draft)
        self.usage.accepted_tokens += len(tokens) - 1
        return tokens

    def _propose(self, known: Sequence[int], room: int) -> list[int]:
        most = min(self._engine.runner.draft, room)
        if self._job.drafter is None or most <= 0:
            return []
        if self._drafter is None:
            self._drafter = self._job.drafter()
        self._drafter.extend(known)
        return self._drafter.propose(most)

    def _feed(self, sequence: CachedSequence, ids: list[int], keep: int) -> Feeds[Rows | None]:
        reason = self._job.interrupted()
        rows = None
        if reason is None:
            rows = yield Feed(sequence.cache, ids, keep, sequence.adapter)
        if rows is None:
            self.finish = reason or self._job.interrupted() or "cancelled"
            return None
        sequence.ids.extend(ids)
        return rows


class Generating(Protocol):
    """One running job of any engine."""

    @property
    def finish(self) -> Finish:
        """Finish reason, or the reason if it ended now."""
        ...

    @property
    def usage(self) -> Usage:
        """Usage so far."""
        ...

    @property
    def likely(self) -> list[Likely]:
        """One for each token that was sampled, where the job asks for logprobs."""
        ...

    @property
    def prompt_likely(self) -> list[Likely]:
        """One for each token of the prompt but the first, where the job scores its prompt."""
        ...

    def next(self) -> Steps[int | None]:
        """The next token, None at the end."""
        ...

    def close(self) -> None:
        """Stop the generation; safe to call twice."""
        ...


class Generates(Protocol):
    """Interface for running jobs: `Engine` uses a local runner, `RemoteEngine` another server."""

    @property
    def has_logits(self) -> bool:
        """Whether jobs may ask for logprobs."""
        ...

    @property
    def runner(self) -> Sizes:
        """Its limits."""
        ...

    @property
    def kept_bytes(self) -> int:
        """Of keys and values between requests."""
        ...

    def check(self) -> None:
        """Raise UpstreamDown if a remote server does not respond; may take seconds."""
        ...

    def warm_up(self, token: int) -> None:
        """Warm up once, with any `token`, so that the first request does not wait for it."""
        ...

    def forget(self, adapter: AdapterId) -> None:
        """Evict sequences of an adapter version that is being removed."""
        ...

    def generate(self, job: Job) -> Generating:
        """Start `job`."""
        ...

    def feed(self, calls: Sequence[Any], /) -> list[Any]:
        """One step of several jobs: an answer to each of their calls, which are all of this engine's kind."""
        ...


class Engine:
    """Starts generations over a runner and keeps their sequences in a cache."""

    has_logits = True

    def __init__(self, runner: Runner, cache_bytes: int, chunk: int = 0) -> None:
        self.runner = runner
        self.prefix_cache = PrefixCache(runner, cache_bytes)
        self.chunk = chunk or runner.chunk

    @property
    def kept_bytes(self) -> int:
        """Of keys and values between requests."""
        return self.prefix_cache.nbytes

    def check(self) -> None:
        """No-op: the runner is local."""

    def warm_up(self, token: int) -> None:
        """Feed `token` alone and beside drafts: kernels are prepared and steps captured."""
        cache = self.runner.open(None)
        for count in (1, 1, 1 + self.runner.draft):
            self.runner.feed([Feed(cache, [token] * count)])
        self.runner.close(cache)

    def forget(self, adapter: AdapterId) -> None:
        """Evict the sequences of `adapter`."""
        self.prefix_cache.forget(adapter)

    def generate(self, job: Job) -> Generation:
        """Start `job`; nothing is computed before the first token is asked for."""
        assert 0 < len(job.prompt) <= self.runner.context
        return Generation(job, self)

    def feed(self, feeds: Sequence[Feed]) -> list[Rows]:
        """One forward; when memory runs out, the cache is evicted and the forward retried once."""
        try:
            return self.runner.feed(feeds)
        except MemoryError:
            log.warning("out of memory: dropped %d cached sequences", len(self.prefix_cache))
            self.prefix_cache.clear()
        return self.runner.feed(feeds)

    def run(self, steps: Steps[T]) -> T:
        """Drive `steps` to their end, each feed a forward of its own."""
        try:
            call = next(steps)
            while True:
                assert isinstance(call, Feed)
                call = steps.send(self.feed([call])[0])
        except StopIteration as end:
            return end.value


def _send(items: Generator[Feed | int, Rows | None, None], rows: Rows | None) -> Feed | int | None:
    try:
        return items.send(rows)
    except StopIteration:
        return None
