"""Kept sequences against a model that is nothing but its history: any edits, the same tokens as from the start."""

from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st
from support.history import TOKEN_BYTES, VOCABULARY, History

from starling_server.engine.engine import Engine, Job
from starling_server.engine.prefix_cache import common_prefix
from starling_server.engine.prompt_lookup import Drafter
from starling_server.engine.protocols import GREEDY

LIMIT = 60 * TOKEN_BYTES
STOPS = frozenset({0})


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
        job = Job(list(text), 10, STOPS, GREEDY, adapter)
        expected = list(Engine(History(), 0).generate(job))
        drafted = Job(list(text), 10, STOPS, GREEDY, adapter, drafter=partial(Drafter, [text]))
        generation = engine.generate(drafted)
        found = [token for token, _ in zip(generation, range(read), strict=False)]
        generation.close()
        assert found == expected[:read]
        assert engine.prefix_cache.nbytes <= LIMIT
        assert runner.open_caches == len(engine.prefix_cache), "every cache is either kept or closed"


def test_the_same_short_prompt_leaves_one_sequence() -> None:
    """Its answer is longer than itself, so that each request takes a copy."""
    engine = Engine(History(), 1000 * TOKEN_BYTES)
    for _ in range(5):
        list(engine.generate(Job([1, 2], 10, STOPS, GREEDY, None)))
    assert len(engine.prefix_cache) == 1


@given(st.lists(st.integers(0, 2), max_size=8), st.lists(st.integers(0, 2), max_size=8))
def test_common_prefix(a: list[int], b: list[int]) -> None:
    size = common_prefix(a, b)
    assert a[:size] == b[:size]
    assert size in (len(a), len(b)) or a[size] != b[size]
