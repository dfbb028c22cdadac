"""Interface between the engine and the runner, the only part that does tensor work.

A runner holds the weights; a *cache* holds the keys and values of one token sequence under one adapter. The engine
treats both, and logits, as opaque: it feeds, rewinds and forks caches, and passes logits to a sampler.
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
"""Temperatures below this decode greedily: dividing logits by them would not give finite numbers."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters as data; each backend builds its own sampler from them."""

    temperature: float = 0.0
    """Below `COLDEST` the likeliest token is taken."""
    top_p: float = 1.0
    """Nucleus sampling: cumulative probability of the likeliest ids to draw from (Holtzman et al. 2020)."""
    seed: int | None = None
    """Random seed: the same seed gives the same draws; None gives different draws each time."""


GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class Likely:
    """One token, its log-probability in nats, and the likeliest ids at its position with their own."""

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
    """Logits are returned after each of this many last ids."""
    adapter: AdapterId | None = None
    """The cache's."""


@dataclass(frozen=True, slots=True)
class Poll:
    """A poll of a stream from another server: the remote engine's counterpart of a feed."""

    stream: Any
    """Of the remote engine's own type."""


Call = Feed | Poll
"""What a generation waits for: logits after its own tokens, or new data from a stream."""


class Sizes(Protocol):
    """Limits of the runner or the remote server."""

    context: int
    """Max tokens in a cache."""
    rows: int
    """Max sequences per forward."""
    draft: int
    """Drafted tokens that a forward verifies beside the sampled one at little extra cost; 0 for none."""


class Runner(Sizes, Protocol):
    """Feeds tokens after a cached prefix and returns logits. Not thread-safe: one thread owns it."""

    chunk: int
    """Prefill tokens per forward: enough to keep this device busy, few enough that cancelling is fast."""

    def open(self, adapter: AdapterId | None) -> Cache:
        """An empty cache; `adapter` None means the bare base."""
        ...

    def feed(self, feeds: Sequence[Feed]) -> list[Rows]:
        """One forward over 1 to `rows` feeds of different caches under one adapter.

        For each feed the logits after its last `keep` ids, shape (keep, vocab). If this raises, every cache has its
        previous length; MemoryError means that evicting cached sequences may help.
        """
        ...

    def rewind(self, cache: Cache, length: int) -> None:
        """Truncate the cache to its first `length` tokens."""
        ...

    def fork(self, cache: Cache, length: int) -> Cache:
        """An independent copy of the first `length` tokens."""
        ...

    def close(self, cache: Cache) -> None:
        """Free a cache that will not be used again."""
        ...

    def nbytes(self, cache: Cache) -> int:
        """Memory that the cache's keys and values take, in bytes."""
        ...

    def sampler(self, sampling: Sampling) -> Sampler:
        """Draws ids from this runner's logits."""
        ...

    def likelihoods(self, logits: Logits, token: int, most: int) -> Likely:
        """Log-probabilities of `token` and of the `most` likeliest ids, from logits before any temperature."""
        ...
