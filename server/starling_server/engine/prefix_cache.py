"""Cache of token sequences between requests.

A request continues the kept sequence of its own client that shares the longest prefix with its prompt. If it shares
most of that sequence it is the same cursor, some keystrokes on, and takes it over; if it shares less it is another
cursor in similar text, and takes a copy. Another client's is never looked at, not even for a beginning that is the same
for all: `cached_tokens` and the clock would tell what that client has sent, token by token. At the byte
limit, least recently used sequences are evicted, each client's in proportion (`owners`).
"""

from dataclasses import dataclass, field
from time import monotonic

from starling_server.engine.protocols import AdapterId, Cache, Runner
from starling_server.owners import Owner, outgoing

SAME_CURSOR = 0.5
"""Share of a kept sequence that a prompt must agree with to take it over instead of copying it."""


@dataclass(slots=True, eq=False)
class CachedSequence:
    """Tokens whose keys and values are in `cache`, in order."""

    owner: Owner
    adapter: AdapterId | None
    cache: Cache
    ids: list[int] = field(default_factory=list[int])
    used: float = 0.0
    """Time of the last store or copy, by `time.monotonic()`."""


def common_prefix(a: list[int], b: list[int]) -> int:
    """Number of leading ids that are equal."""
    limit = min(len(a), len(b))
    if a[:limit] == b[:limit]:
        return limit
    return next(i for i in range(limit) if a[i] != b[i])


def _continues(sequence: CachedSequence, kept: CachedSequence) -> bool:
    """Whether `sequence` serves every request that `kept` would."""
    length = len(kept.ids)
    return (
        (kept.owner, kept.adapter) == (sequence.owner, sequence.adapter)
        and length <= len(sequence.ids)
        and kept.ids[-1] == sequence.ids[length - 1]  # differs nearly always, and costs less than the lists
        and kept.ids == sequence.ids[:length]
    )


class PrefixCache:
    """Kept sequences, least recently used first. Not thread-safe: the engine's one thread owns it."""

    def __init__(self, runner: Runner, limit_bytes: int) -> None:
        self._runner = runner
        self._limit = limit_bytes
        self._kept: list[CachedSequence] = []

    @property
    def nbytes(self) -> int:
        """Bytes of all cached keys and values; approximate when read from another thread."""
        return sum(self._runner.nbytes(kept.cache) for kept in tuple(self._kept))

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, owner: Owner, adapter: AdapterId | None, prompt: list[int]) -> CachedSequence:
        """A sequence of `owner` that holds a proper prefix of `prompt` and is the caller's own until `put` back.

        At least the prompt's last token is left to feed, since logits come from feeding.
        """
        best, shared = self._longest(owner, adapter, prompt[:-1])
        if best is None:
            return CachedSequence(owner, adapter, self._runner.open(adapter))
        if shared < SAME_CURSOR * len(best.ids):
            self._touch(best)
            return CachedSequence(owner, adapter, self._runner.fork(best.cache, shared), best.ids[:shared])
        self._kept.remove(best)
        self.shorten(best, shared)
        return best

    def put(self, sequence: CachedSequence) -> None:
        """Cache `sequence` for later requests and evict beyond the limit; an empty one is not cached.

        Sequences that it begins with are dropped: a short prompt whose long answer repeats leaves a copy each time.
        """
        if not sequence.ids:
            self.drop(sequence)
            return
        for kept in [kept for kept in self._kept if _continues(sequence, kept)]:
            self._kept.remove(kept)
            self.drop(kept)
        self._keep(sequence)
        while self._kept and self.nbytes > self._limit:
            self.drop(self._kept.pop(self._outgoing()))

    def drop(self, sequence: CachedSequence) -> None:
        """Free a taken sequence without caching it."""
        self._runner.close(sequence.cache)

    def shorten(self, sequence: CachedSequence, length: int) -> None:
        """Keep the first `length` tokens of a sequence that was taken."""
        if length < len(sequence.ids):
            self._runner.rewind(sequence.cache, length)
            del sequence.ids[length:]

    def clear(self) -> None:
        """Evict every sequence."""
        while self._kept:
            self.drop(self._kept.pop())

    def forget(self, adapter: AdapterId | None) -> None:
        """Evict every sequence of `adapter`."""
        for kept in [kept for kept in self._kept if kept.adapter == adapter]:
            self._kept.remove(kept)
            self.drop(kept)

    def _longest(self, owner: Owner, adapter: AdapterId | None, ids: list[int]) -> tuple[CachedSequence | None, int]:
        best, shared = None, 0
        for kept in self._kept:
            if (kept.owner, kept.adapter) == (owner, adapter) and (common := common_prefix(kept.ids, ids)) > shared:
                best, shared = kept, common
        return best, shared

    def _touch(self, sequence: CachedSequence) -> None:
        self._kept.remove(sequence)
        self._keep(sequence)

    def _keep(self, sequence: CachedSequence) -> None:
        sequence.used = monotonic()
        self._kept.append(sequence)

    def _outgoing(self) -> int:
        clients = [kept.owner.client for kept in self._kept]
        sizes = [self._runner.nbytes(kept.cache) for kept in self._kept]
        return outgoing(clients, sizes, monotonic() - self._kept[0].used)
