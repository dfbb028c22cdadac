"""Kept sequences against a model that is nothing but its history: any edits, the same tokens as from the start."""

from collections.abc import Sequence
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from starling_server.cache import common_prefix
from starling_server.drafts import Drafter
from starling_server.engine import Engine, Job
from starling_server.runner import Feed

VOCABULARY = 6
TOKEN_BYTES = 8
LIMIT = 60 * TOKEN_BYTES
STOPS = frozenset({0})


class History:
    """A `Runner` whose answer is a digest of every token fed so far: one that is wrong or out of place changes it."""

    context, chunk, rows, draft = 64, 5, 1, 3

    def __init__(self) -> None:
        self.open_caches = 0

    def open(self, adapter: str | None) -> list[int]:
        self.open_caches += 1
        return [len(adapter or "")]

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


EDIT = st.tuples(
    st.integers(0, 40),  # where
    st.integers(0, 6),  # characters taken away
    st.lists(st.integers(1, VOCABULARY - 1), max_size=6),  # and put there
    st.sampled_from([None, "one", "other"]),  # under which adapter it is asked
    st.integers(0, 12),  # tokens read of the answer before it is left
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=30), st.lists(EDIT, max_size=12))
def test_any_sequence_of_edits_gives_what_a_fresh_engine_gives(
    text: list[int], edits: list[tuple[int, int, list[int], str | None, int]]
) -> None:
    runner = History()
    engine = Engine(runner, LIMIT)
    for at, taken, put, adapter, read in edits:
        text = (text[:at] + put + text[at + taken :])[: runner.context] or [1]
        job = Job(list(text), 10, STOPS, int, adapter)
        expected = list(Engine(History(), 0).generate(job))
        drafted = Job(list(text), 10, STOPS, int, adapter, drafter=partial(Drafter, [text]))
        generation = engine.generate(drafted)
        found = [token for token, _ in zip(generation, range(read), strict=False)]
        generation.close()
        assert found == expected[:read]
        assert engine.pool.nbytes <= LIMIT
        assert runner.open_caches == len(engine.pool), "every cache is either kept or closed"


@given(st.lists(st.integers(0, 2), max_size=8), st.lists(st.integers(0, 2), max_size=8))
def test_common_prefix(a: list[int], b: list[int]) -> None:
    size = common_prefix(a, b)
    assert a[:size] == b[:size]
    assert size in (len(a), len(b)) or a[size] != b[size]
