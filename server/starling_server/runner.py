"""The one part that does tensor work, as the engine sees it.

A runner holds the weights; a *cache* holds the keys and values of one token sequence under one adapter. The engine
never looks inside either, nor inside logits: it feeds, rewinds, forks, and hands logits to a sampler.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

Logits = Any
"""Scores over the vocabulary, of the runner's own tensor type, shape (vocab,)."""
Cache = Any
"""Keys and values of the runner's own type."""
Sampler = Callable[[Logits], int]


class Runner(Protocol):
    """Feed tokens after a kept prefix and get logits."""

    context: int
    """Most tokens that a cache can hold."""
    chunk: int
    """Prefill tokens per forward that keep this device busy and a cancelled request waiting shortly."""

    def open(self, adapter: str | None) -> Cache:
        """An empty cache; `adapter` None means the bare base."""
        ...

    def feed(self, cache: Cache, ids: Sequence[int]) -> Logits:
        """One forward over `ids`, which extend the cache; logits after the last of them."""
        ...

    def rewind(self, cache: Cache, length: int) -> None:
        """Forget everything behind the first `length` tokens."""
        ...

    def fork(self, cache: Cache, length: int) -> Cache:
        """An independent copy of the first `length` tokens."""
        ...

    def nbytes(self, cache: Cache) -> int:
        """Memory that the cache's keys and values take, in bytes."""
        ...
