"""A model that is nothing but its history, for tests of what is kept between requests."""

from collections.abc import Sequence

from starling_server.engine.protocols import AdapterId, Feed, Likely, Sampler, Sampling

VOCABULARY = 6
TOKEN_BYTES = 8


class History:
    """A `Runner` whose answer is a digest of every token fed so far: one that is wrong or out of place changes it."""

    context, chunk, rows, draft = 64, 5, 1, 3

    def __init__(self) -> None:
        self.open_caches = 0

    def open(self, adapter: AdapterId | None) -> list[int]:
        self.open_caches += 1
        return [len(str(adapter or ""))]

    def feed(self, feeds: Sequence[Feed]) -> list[list[int]]:
        return [self._one(feed) for feed in feeds]

    def _one(self, feed: Feed) -> list[int]:
        rows = list[int]()
        for token in feed.ids:
            feed.cache.append(token)
            rows.append(hash(tuple(feed.cache[-4:] if len(feed.cache) % 3 else feed.cache)) % VOCABULARY)
        assert len(feed.cache) - 1 <= self.context
        return rows[-feed.keep :]

    def rewind(self, cache: list[int], length: int) -> None:
        del cache[length + 1 :]

    def fork(self, cache: list[int], length: int) -> list[int]:
        self.open_caches += 1
        return cache[: length + 1]

    def close(self, cache: list[int]) -> None:
        self.open_caches -= 1

    def nbytes(self, cache: list[int]) -> int:
        return (len(cache) - 1) * TOKEN_BYTES

    def sampler(self, sampling: Sampling) -> Sampler:
        return int

    def likelihoods(self, logits: int, token: int, most: int) -> Likely:
        return Likely(token, 0.0, [])
