"""The optional runner for CPUs and Macs: llama.cpp forwards over GGUF files that we export ourselves. No torch.

A cache is one sequence of a llama.cpp context, with room for the longest prompt plus its completion. Keys and values
are 16-bit floats by default. The memory of all sequences is allocated when the runner starts.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from starling_server.backends.llamacpp import sampling as draws
from starling_server.backends.llamacpp.bindings import BATCH, Context, Handle, KeyType, Rows, Token, Weights
from starling_server.backends.llamacpp.gguf_export import export_cache
from starling_server.backends.llamacpp.gguf_export.write import outlined
from starling_server.backends.llamacpp.loading import Loaded
from starling_server.engine.protocols import AdapterId, Feed, Likely, Sampler, Sampling
from starling_server.errors import AdapterError, OutputError
from starling_server.models.adapter_memory import Need
from starling_server.models.families import table as families

SEQUENCES = 128
"""Max number of caches, kept ones included; llama.cpp's limit is 256. With 64, a team of 64 users had one more cursor
than caches, so prompts were prefilled again all day."""
ROWS = 8
"""Max number of caches in one forward. Four took 1.4 times as long as one if their sequence numbers are consecutive,
otherwise four times, since llama.cpp then computes them one by one (1.1 billion weights in q4_0, AVX2, busy cores)."""
CELLS = 256
"""llama.cpp rounds a sequence's cells up to a multiple of this."""
CHUNK = 64
"""Tokens of a prefill chunk. As fast as chunks of 256: 34 and 33 tokens per CPU second (1.1 billion weights, q4_0)."""
DRAFT = 0
"""Draft tokens per step: off. On a CPU without AVX512, llama.cpp needs more time for a few tokens than for one: four in
one forward take 2.5 to 2.9 times the CPU time of one, two take 1.5 to 1.9 times (150 million and 1.1 billion weights in
q4_0, two cores of an AMD EPYC with AVX2, docs/experiments.md). The gain from drafts on this runner was not measured."""


@dataclass(slots=True, eq=False)
class GgmlCache:
    """One sequence of the context."""

    adapter: AdapterId | None
    sequence: int
    """llama.cpp's sequence number."""
    length: int = 0
    """Tokens in the sequence."""


class GgmlRunner:
    """Implements `protocols.Runner` and `adapter_memory.HoldsAdapters`. Not thread-safe, except for `abort`."""

    def __init__(
        self, loaded: Loaded, cache_bytes: int, tokens: int = 0, keys: KeyType = "f16", threads: int = 0
    ) -> None:
        """Load the weights and allocate as many caches of `tokens` tokens as fit in `cache_bytes`, at least two.

        If `tokens` is 0 or exceeds the base's context, the whole context is used. Raises BaseModelError if llama.cpp
        rejects the file, UsageError if llama.cpp is not installed.
        """
        self.context = min(tokens or loaded.base.context, loaded.base.context)
        self.chunk, self.draft = CHUNK, DRAFT
        self._loaded = loaded
        self._weights = Weights(loaded.file, loaded.gpu)
        shape = families.shape(loaded.base.config)
        token_bytes = 2 * shape.layers * shape.key * (2 if keys == "f16" else 4)
        cells = -(-self.context // CELLS) * CELLS
        self._cache_bytes = cells * token_bytes
        count = max(2, min(cache_bytes // self._cache_bytes, SEQUENCES))
        self.rows = min(ROWS, count // 2)
        self._llama = Context(self._weights, cells, count, threads, keys)
        self.spare_bytes = (count - self.rows) * self._cache_bytes
        """Max total bytes of kept caches that still leaves room for requests."""
        self._free = list(range(count))
        """A heap: the lowest number is taken first, which keeps the numbers in use consecutive (`ROWS`)."""
        self._adapters: dict[AdapterId, Handle] = {}
        self._adapter_bytes: dict[AdapterId, int] = {}
        self._active: AdapterId | None = None

    @property
    def adapters(self) -> tuple[AdapterId, ...]:
        """Names of the adapters in memory."""
        return tuple(self._adapters)

    def need(self, path: Path) -> Need:
        """Memory that the adapter in `path` would need, in float32; raises AdapterError if its shapes do not fit."""
        own = 4 * outlined(path, self._loaded.base)[0].floats
        return Need(own, own + sum(self._adapter_bytes.values()))

    def add_adapter(self, name: AdapterId, path: Path) -> None:
        """Load the adapter in the folder `path` as `name`, exporting it to GGUF unless that was done before.

        Raises AdapterError if its shapes do not fit, it is more than a LoRA, or the cache folder has no space for it.
        """
        assert name not in self._adapters
        try:
            file = export_cache.adapter(path, self._loaded.base, self._loaded.fingerprint)
        except OutputError as error:
            raise AdapterError(str(error)) from error
        self._adapters[name] = self._weights.adapter(file)
        self._adapter_bytes[name] = file.stat().st_size

    def remove_adapter(self, name: AdapterId) -> None:
        """Unload an adapter whose caches are all closed."""
        if self._active == name:
            self._activate(None)
        self._weights.forget_adapter(self._adapters.pop(name))
        del self._adapter_bytes[name]

    def adapter_bytes(self, name: AdapterId) -> int:
        """Bytes of an adapter in memory, taken from its file's size."""
        return self._adapter_bytes.get(name, 0)

    def open(self, adapter: AdapterId | None) -> GgmlCache:
        """An empty cache; raises MemoryError if all caches are open."""
        if not self._free:
            raise MemoryError("all caches are open")
        return GgmlCache(adapter, heapq.heappop(self._free))

    def feed(self, feeds: Sequence[Feed]) -> list[Any]:
        """Run one forward; returns `bindings.Rows` per feed: logits after its last `keep` ids, shape (keep, vocab).

        Raises MemoryError if no cells are left, `bindings.Aborted` after `abort`; caches are then unchanged.
        """
        assert 0 < len(feeds) <= self.rows
        self._activate(feeds[0].cache.adapter)
        neighbours = sorted(feeds, key=_sequence)  # llama.cpp batches consecutive sequences
        rows = dict(zip(map(_sequence, neighbours), self._decode(neighbours), strict=True))
        return [rows[_sequence(feed)] for feed in feeds]

    def _decode(self, feeds: Sequence[Feed]) -> list[Any]:
        """Rows of each feed, shape (keep, vocab), from one forward in this order."""
        tokens = [token for feed in feeds for token in _tokens(feed)]
        self._llama.resume()
        try:
            pieces = [self._llama.decode(tokens[at : at + BATCH]) for at in range(0, len(tokens), BATCH)]
        except BaseException:
            for feed in feeds:
                self._llama.forget(feed.cache.sequence, feed.cache.length)
            raise
        for feed in feeds:
            feed.cache.length += len(feed.ids)
        return np.split(np.concatenate(pieces), np.cumsum([feed.keep for feed in feeds])[:-1])

    def score(self, adapter: AdapterId | None, ids: Sequence[int], start: int) -> list[float]:
        """Log-probability in nats of each of `ids[start:]` given all before it; 0 < start."""
        cache, scores = self.open(adapter), list[float]()
        try:
            for at in range(0, len(ids) - 1, BATCH):
                piece, targets = ids[at : min(at + BATCH, len(ids) - 1)], ids[max(at + 1, start) : at + BATCH + 1]
                rows = self.feed([Feed(cache, piece, len(targets))])[0]
                scores += _log_probabilities(rows, targets)
        finally:
            self.close(cache)
        return scores

    def rewind(self, cache: GgmlCache, length: int) -> None:
        """Truncate the cache to its first `length` tokens."""
        assert length <= cache.length
        if length < cache.length:
            self._llama.forget(cache.sequence, length)
            cache.length = length

    def fork(self, cache: GgmlCache, length: int) -> GgmlCache:
        """A copy of the cache's first `length` tokens; raises MemoryError as `open` does."""
        assert length <= cache.length
        copy = self.open(cache.adapter)
        self._llama.copy(cache.sequence, copy.sequence, length)
        copy.length = length
        return copy

    def close(self, cache: GgmlCache) -> None:
        """Release the cache's memory and sequence number; the cache must not be used again."""
        assert cache.sequence not in self._free
        self._llama.forget(cache.sequence)
        heapq.heappush(self._free, cache.sequence)

    def sampler(self, sampling: Sampling) -> Sampler:
        """A sampler over logits of shape (vocab,)."""
        return draws.sampler(sampling)

    def likelihoods(self, logits: Rows, token: int, most: int) -> Likely:
        """Log-probabilities of `token` and of the `most` likeliest ids."""
        return draws.likelihoods(logits, token, most)

    def nbytes(self, cache: GgmlCache) -> int:
        """Bytes of the cache's memory, independent of its length."""
        return self._cache_bytes

    def abort(self) -> None:
        """Abort the running forward, if any: its `feed` raises `bindings.Aborted`. Callable from any thread.

        Used for a prefill whose request was cancelled. A call between two forwards has no effect, because the engine
        checks for cancellation there itself.
        """
        self._llama.abort()

    def _activate(self, adapter: AdapterId | None) -> None:
        """Switch the adapter if it differs from the last forward's; a switch makes llama.cpp rebuild its graph."""
        if adapter != self._active:
            self._llama.use(None if adapter is None else self._adapters[adapter])
            self._active = adapter


def _sequence(feed: Feed) -> int:
    return feed.cache.sequence


def _tokens(feed: Feed) -> list[Token]:
    cache, first = feed.cache, len(feed.ids) - feed.keep
    assert 0 <= first <= len(feed.ids)
    return [Token(cache.sequence, token, cache.length + at, at >= first) for at, token in enumerate(feed.ids)]


def _log_probabilities(rows: Rows, targets: Sequence[int]) -> list[float]:
    """Log-probabilities of `targets`, one per row, computed in float64."""
    wide = rows.astype(np.float64)
    wide -= wide.max(-1, keepdims=True)
    picked = wide[np.arange(len(targets)), list(targets)] - np.log(np.exp(wide).sum(-1))
    return picked.tolist()
