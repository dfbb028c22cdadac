"""What is kept of one client: nobody else is answered with it, and nobody else can push all of it out."""

from hypothesis import given
from hypothesis import strategies as st
from support.history import TOKEN_BYTES, History

from starling_server.completion.suggestion_cache import Recall, Remembered
from starling_server.engine.engine import Engine, Job
from starling_server.engine.prefix_cache import CachedSequence, PrefixCache, common_prefix
from starling_server.engine.protocols import GREEDY, Feed
from starling_server.owners import STALE_SECONDS, Owner, outgoing

LIMIT = 60 * TOKEN_BYTES
STOPS = frozenset({0})
OWNERS = [Owner("alice"), Owner("bob"), Owner("bob", "one of bob's"), Owner("alice", "one of bob's")]
ASKED = st.tuples(st.sampled_from(OWNERS), st.lists(st.integers(1, 2), min_size=1, max_size=12))


@given(st.lists(ASKED, max_size=30))
def test_no_more_is_reused_than_an_owner_has_sent_itself(asked: list[tuple[Owner, list[int]]]) -> None:
    engine, sent = Engine(History(), LIMIT), dict[Owner, list[list[int]]]()
    for owner, prompt in asked:
        generation = engine.generate(Job(prompt, 4, STOPS, GREEDY, owner=owner))
        written = list(generation)
        assert written == list(Engine(History(), 0).generate(Job(prompt, 4, STOPS, GREEDY)))
        own = sent.setdefault(owner, [])
        assert generation.usage.cached_tokens <= max((common_prefix(prompt, text) for text in own), default=0)
        own.append(prompt + written)


def keep(cache: PrefixCache, runner: History, owner: Owner, ids: list[int]) -> CachedSequence:
    sequence = cache.take(owner, None, [*ids, 0])
    fresh = ids[len(sequence.ids) :]
    runner.feed([Feed(sequence.cache, fresh)])
    sequence.ids.extend(fresh)
    cache.put(sequence)
    return sequence


def test_a_client_that_asks_a_lot_pushes_out_its_own() -> None:
    runner = History()
    cache = PrefixCache(runner, 40 * TOKEN_BYTES)
    keep(cache, runner, OWNERS[0], [1] * 10)
    for number in range(2, 50):
        keep(cache, runner, Owner("bob", str(number)), [number] * 10)
        assert cache.nbytes <= 40 * TOKEN_BYTES
    again = cache.take(OWNERS[0], None, [1] * 11)
    assert len(again.ids) == 10


def test_what_holds_nothing_is_not_kept() -> None:
    runner = History()
    cache = PrefixCache(runner, LIMIT)
    cache.put(cache.take(OWNERS[0], None, [1, 2]))
    assert (len(cache), runner.open_caches) == (0, 0)


def test_what_goes_first() -> None:
    assert outgoing(["a"], [1], 0) == 0
    assert outgoing(["a", "b", "c"], [1, 9, 1], 0) == 0, "each has but one: the oldest of all"
    assert outgoing(["a", "b", "b", "c", "c"], [1, 2, 9, 3, 1], 0) == 3, "the most beside its newest"
    assert outgoing(["a", "b", "a", "a"], [1, 9, 1, 1], 0) == 0
    assert outgoing(["b", "a", "a"], [1, 1, 1], 0) == 1
    assert outgoing(["b", "a", "a"], [1, 1, 1], STALE_SECONDS + 1) == 0, "nobody wants it any more"


def test_remembered_answers_of_others_stay() -> None:
    recall = Recall(most=4)
    recall.add(Remembered(("alice",), "x = ", "", "1", "alice"))
    for number in range(20):
        recall.add(Remembered(("bob",), f"{number}", "", "2", "bob"))
    assert recall.find(("alice",), "x = ", "") == "1"
    assert recall.find(("bob",), "19", "") == "2"
    assert recall.find(("bob",), "16", "") is None
