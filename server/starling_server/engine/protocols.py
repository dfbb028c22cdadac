"""The one part that does tensor work, as the engine sees it.

A runner holds the weights; a *cache* holds the keys and values of one token sequence under one adapter. The engine
never looks inside either, nor inside logits: it feeds, rewinds, forks, and hands logits to a sampler.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Logits = Any
"""Scores over the vocabulary, of the runner's own array type, shape (vocab,)."""
Rows = Any
"""Logits of several positions, one after the other: a sequence of `Logits`, shape (keep, vocab)."""
Cache = Any
"""Keys and values of the runner's own type."""
Sampler = Callable[[Logits], int]
AdapterId = Hashable
"""One version of an adapter (`models.AdapterKey` when serving). The engine and the runners only compare it."""
COLDEST = 1e-4
"""A temperature below this is greedy: logits over it would be no numbers any more."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn, as data: whoever computes makes its own sampler of it."""

    temperature: float = 0.0
    """Below `COLDEST` the likeliest token is taken."""
    top_p: float = 1.0
    """Share of probability that the likeliest ids make up together and that is drawn from (Holtzman et al. 2020)."""
    seed: int | None = None
    """The same seed gives the same draws; None gives others each time."""


GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class Likely:
    """One written token, its log-probability in nats, and the likeliest ids in its place with theirs."""

    token: int
    nats: float
    best: list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Feed:
    """What one sequence contributes to a forward."""

    cache: Cache
    ids: Sequence[int]
    """At least one id; they extend the cache."""
    keep: int = 1
    """Logits are wanted after each of this many last ids."""
    adapter: AdapterId | None = None
    """The cache's."""


@dataclass(frozen=True, slots=True)
class Poll:
    """A look at a stream that another server writes: the remote engine's counterpart of a feed."""

    stream: Any
    """Of the remote engine's own type."""


Call = Feed | Poll
"""What a generation waits for: logits after tokens of its own, or news of a stream."""


class Sizes(Protocol):
    """What whoever computes can take."""

    context: int
    """Most tokens that a cache can hold."""
    rows: int
    """Most sequences that one forward takes."""
    draft: int
    """Drafted tokens that a forward checks beside the sampled one for little more than that one costs; 0 for none."""


class Runner(Sizes, Protocol):
    """Feed tokens after a kept prefix and get logits. Not thread-safe: one thread owns it."""

    chunk: int
    """Prefill tokens per forward that keep this device busy and a cancelled request waiting shortly."""

    def open(self, adapter: AdapterId | None) -> Cache:
        """An empty cache; `adapter` None means the bare base."""
        ...

    def feed(self, feeds: Sequence[Feed]) -> list[Rows]:
        """One forward over 1 to `rows` feeds of different caches under one adapter.

        For each feed the logits after its last `keep` ids, shape (keep, vocab). Where this raises, every cache is as
        long as before; MemoryError means that less kept memory may help.
        """
        ...

    def rewind(self, cache: Cache, length: int) -> None:
        """Forget everything behind the first `length` tokens."""
        ...

    def fork(self, cache: Cache, length: int) -> Cache:
        """An independent copy of the first `length` tokens."""
        ...

    def close(self, cache: Cache) -> None:
        """Let go of a cache that nobody will use again."""
        ...

    def nbytes(self, cache: Cache) -> int:
        """Memory that the cache's keys and values take, in bytes."""
        ...

    def sampler(self, sampling: Sampling) -> Sampler:
        """Draws ids from this runner's logits."""
        ...

    def likelihoods(self, logits: Logits, token: int, most: int) -> Likely:
        """How likely `token` was, and the `most` likeliest ids, by logits before any temperature."""
        ...
