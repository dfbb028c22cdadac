"""Prefill in chunks, decode, stop, cancel: policy only, over a runner.

Between any two forwards the engine asks whether it should go on, so a cancelled request costs at most the forward
it is in, in prefill as in decoding. What was computed stays in the pool for the next request.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

from starling_server.cache import Pool, Sequence
from starling_server.runner import Logits, Runner, Sampler

Finish = Literal["stop", "length", "line", "block", "deadline", "superseded", "cancelled"]
Interrupt = Callable[[], Finish | None]
"""Asked before every forward; anything but None ends the generation with that reason."""


def never() -> None:
    """An interrupt that never comes."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to generate."""

    prompt: list[int]
    """1 to `context` ids."""
    max_tokens: int
    stops: frozenset[int]
    """Ids that end the generation and are not part of it."""
    sample: Sampler
    adapter: str | None = None
    """None is the bare base."""
    interrupted: Interrupt = never


@dataclass(slots=True)
class Usage:
    """What one generation took; filled in as it goes."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0


class Generation:
    """One running job: iterate for token ids; `finish` and `usage` tell what happened.

    Whoever iterates may leave at any time (a stop rule fired) with `close`: what was computed is kept.
    A forward that raises ends it, and its half-fed sequence is dropped.
    """

    def __init__(self, job: Job, runner: Runner, pool: Pool, chunk: int) -> None:
        self.finish: Finish = "length"
        self.usage = Usage(prompt_tokens=len(job.prompt))
        self._job, self._runner, self._pool, self._chunk = job, runner, pool, chunk
        self._tokens = self._run()

    def __iter__(self) -> Iterator[int]:
        return self._tokens

    def close(self) -> None:
        """Stop here; safe to call twice."""
        self._tokens.close()

    def _run(self) -> Generator[int]:
        sequence = self._pool.take(self._job.adapter, self._job.prompt)
        self.usage.cached_tokens = len(sequence.ids)
        try:
            yield from self._decode(sequence, self._prefill(sequence))
        except GeneratorExit:
            self._pool.put(sequence)
            raise
        self._pool.put(sequence)

    def _prefill(self, sequence: Sequence) -> Logits | None:
        """Feed what the sequence lacks of the prompt; None where that was interrupted."""
        started, prompt, logits = perf_counter(), self._job.prompt, None
        while len(sequence.ids) < len(prompt):
            if reason := self._job.interrupted():
                self.finish = reason
                return None
            logits = self._feed(sequence, prompt[len(sequence.ids) :][: self._chunk])
            self.usage.prefill_ms = (perf_counter() - started) * 1e3
        return logits

    def _decode(self, sequence: Sequence, logits: Logits | None) -> Iterator[int]:
        """Yield sampled ids; each is fed only when another one is wanted after it."""
        started, job = perf_counter(), self._job
        room = min(job.max_tokens, self._runner.context - len(job.prompt))
        while logits is not None and self.usage.completion_tokens < room:
            token = job.sample(logits)
            if token in job.stops:
                self.finish = "stop"
                return
            self.usage.completion_tokens += 1
            self.usage.decode_ms = (perf_counter() - started) * 1e3
            yield token
            logits = self._next(sequence, token, room)

    def _next(self, sequence: Sequence, token: int, room: int) -> Logits | None:
        if self.usage.completion_tokens == room:
            return None
        if reason := self._job.interrupted():
            self.finish = reason
            return None
        return self._feed(sequence, [token])

    def _feed(self, sequence: Sequence, ids: list[int]) -> Logits:
        logits = self._runner.feed(sequence.cache, ids)
        sequence.ids.extend(ids)
        return logits


class Engine:
    """Runs generations over a runner, one at a time, and keeps their sequences in a pool."""

    def __init__(self, runner: Runner, cache_bytes: int, chunk: int = 0) -> None:
        self.runner = runner
        self.pool = Pool(runner, cache_bytes)
        self._chunk = chunk or runner.chunk

    def generate(self, job: Job) -> Generation:
        """Start `job`; nothing is computed before the first token is asked for."""
        assert 0 < len(job.prompt) <= self.runner.context
        return Generation(job, self.runner, self.pool, self._chunk)
