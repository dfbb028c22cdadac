"""The engine against transformers, and what it costs in forwards."""

import random
from collections.abc import Callable, Sequence

import pytest
import torch

from starling_server.backends.torch.loading import Loaded
from starling_server.backends.torch.runner import TorchRunner
from starling_server.engine.engine import Engine, Job
from starling_server.engine.prefix_cache import PrefixCache
from starling_server.engine.protocols import GREEDY, Feed, Rows
from starling_server.owners import ALONE
from starling_server.prompt import window
from starling_server.prompt.cursor import Cursor
from starling_server.schema import Finish

CACHE = 1 << 28
TOKENS, CURSORS = 8, 30
BUDGET = 400


class CountingRunner(TorchRunner):
    """Counts forwards; `after` is called behind each with their number."""

    def __init__(self, loaded: Loaded, after: Callable[[int], None] = lambda _: None) -> None:
        super().__init__(loaded)
        self.forwards = 0
        self.after = after

    def feed(self, feeds: Sequence[Feed]) -> list[Rows]:
        rows = super().feed(feeds)
        self.forwards += 1
        self.after(self.forwards)
        return rows


def prompt_at(loaded: Loaded, prefix: str, suffix: str) -> list[int]:
    cut = window.fit(Cursor.at(prefix, suffix), BUDGET, loaded.tokenizer.encode)
    return loaded.fim.prompt(cut.prefix, cut.suffix)


def complete(engine: Engine, loaded: Loaded, prompt: list[int]) -> list[int]:
    return list(engine.generate(Job(prompt, TOKENS, loaded.fim.stops, GREEDY)))


def reference(loaded: Loaded, prompt: list[int]) -> list[int]:
    """transformers' own greedy search, up to the first stop."""
    stops = sorted(loaded.fim.stops)
    ids = torch.tensor([prompt])
    out = loaded.model.generate(  # pyright: ignore[reportCallIssue]
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=TOKENS,
        do_sample=False,
        eos_token_id=stops,
        pad_token_id=loaded.fim.pad,
    )
    return [token for token in out[0, len(prompt) :].tolist() if token not in loaded.fim.stops]


@pytest.mark.slow
def test_greedy_output_equals_transformers(exact: Loaded, source: str) -> None:
    """At many cursors, each asked twice with some typing between: the second continues the first's cache."""
    rng = random.Random(0)
    kept = Engine(TorchRunner(exact), CACHE)
    reused = 0
    for _ in range(CURSORS):
        at = rng.randrange(len(source) - 10)
        for typed in (0, 10):
            prompt = prompt_at(exact, source[: at + typed], source[at + 10 :])
            generation = kept.generate(Job(prompt, TOKENS, exact.fim.stops, GREEDY))
            with_reuse = list(generation)
            reused += generation.usage.cached_tokens > len(prompt) // 2
            fresh = complete(Engine(TorchRunner(exact), 0), exact, prompt)
            assert with_reuse == fresh == reference(exact, prompt)
    assert reused >= CURSORS * 0.9
    assert kept.prefix_cache.nbytes <= CACHE


def test_typing_feeds_new_tokens_only(tiny: Loaded, source: str) -> None:
    """A stretch of some ten lines into a long file, key by key, until the window has moved on more than once."""
    at = source.index("class Generation")
    typed = source[at : at + 500]
    engine, starts = Engine(TorchRunner(tiny), CACHE), list[list[int]]()
    prompts = cached = 0
    for size in range(len(typed) + 1):
        prefix = source[:at] + typed[:size]
        cut = window.fit(
            Cursor.at(prefix, source[at + 500 :]), window.budget(320, 64, tiny.fim.sentinels), tiny.tokenizer.encode
        )
        generation = engine.generate(Job(tiny.fim.prompt(cut.prefix, cut.suffix), 0, tiny.fim.stops, GREEDY))
        list(generation)
        if not starts or starts[-1] != cut.prefix[:16]:
            starts.append(cut.prefix[:16])
        if size:
            prompts += generation.usage.prompt_tokens
            cached += generation.usage.cached_tokens
    assert typed.count("\n") > 8
    assert len(starts) > 2
    assert cached / prompts >= 0.97


@pytest.mark.parametrize("cancelled_after", [1, 3])
def test_a_cancelled_prefill_stops_within_one_forward(tiny: Loaded, source: str, cancelled_after: int) -> None:
    runner = CountingRunner(tiny)
    engine = Engine(runner, CACHE, chunk=16)
    prompt = prompt_at(tiny, source[: len(source) // 2], source[len(source) // 2 :])

    def interrupted() -> Finish | None:
        return "cancelled" if runner.forwards >= cancelled_after else None

    generation = engine.generate(Job(prompt, TOKENS, tiny.fim.stops, GREEDY, interrupted=interrupted))
    assert list(generation) == []
    assert (runner.forwards, generation.finish) == (cancelled_after, "cancelled")
    following = engine.generate(Job(prompt, 1, tiny.fim.stops, GREEDY))
    list(following)
    assert following.usage.cached_tokens == 16 * cancelled_after


def test_a_cancelled_decode_stops_within_one_forward(tiny: Loaded, source: str) -> None:
    runner = CountingRunner(tiny)
    prompt = prompt_at(tiny, source[: source.index("return") + 3], source[source.index("return") + 3 :])
    prefill = -(-len(prompt) // runner.chunk)
    engine = Engine(runner, CACHE)

    def interrupted() -> Finish | None:
        return "superseded" if runner.forwards >= prefill + 2 else None

    generation = engine.generate(Job(prompt, TOKENS, frozenset(), GREEDY, interrupted=interrupted))
    assert len(list(generation)) == 3
    assert (runner.forwards, generation.finish) == (prefill + 2, "superseded")


def test_leaving_early_keeps_what_was_computed(tiny: Loaded, source: str) -> None:
    engine = Engine(TorchRunner(tiny), CACHE)
    prompt = prompt_at(tiny, source[:2000], source[2000:])
    generation = engine.generate(Job(prompt, TOKENS, frozenset(), GREEDY))
    next(iter(generation))
    generation.close()
    following = engine.generate(Job(prompt, 1, frozenset(), GREEDY))
    list(following)
    assert following.usage.cached_tokens == len(prompt) - 1


def test_a_forward_that_raises_fails_its_request_only(tiny: Loaded, source: str) -> None:
    def fail(forwards: int) -> None:
        if forwards == 2:
            raise RuntimeError("planted")

    runner = CountingRunner(tiny, fail)
    engine = Engine(runner, CACHE)
    prompt = prompt_at(tiny, source[:2000], source[2000:])
    with pytest.raises(RuntimeError, match="planted"):
        list(engine.generate(Job(prompt, TOKENS, frozenset(), GREEDY)))
    assert len(engine.prefix_cache) == 0
    assert complete(engine, tiny, prompt) == complete(Engine(TorchRunner(tiny), 0), tiny, prompt)


def test_the_context_is_never_exceeded(tiny: Loaded) -> None:
    engine = Engine(TorchRunner(tiny), CACHE)
    prompt = [100] * (tiny.base.context - 2)
    generation = engine.generate(Job(prompt, TOKENS, frozenset(), GREEDY))
    assert len(list(generation)) == 2
    assert generation.finish == "length"


def test_the_prefix_cache_forks_for_another_cursor_and_drops_the_oldest(tiny: Loaded) -> None:
    runner = TorchRunner(tiny)
    cache = PrefixCache(runner, 1 << 30)
    first = cache.take(ALONE, None, [*range(100, 140)])
    runner.feed([Feed(first.cache, [*range(100, 139)])])
    first.ids.extend(range(100, 139))
    cache.put(first)
    other = cache.take(ALONE, None, [*range(100, 110), *range(500, 540)])
    assert (other.ids, len(cache)) == ([*range(100, 110)], 1)
    assert (first.cache.kv.length, other.cache.kv.length) == (39, 10)
    same = cache.take(ALONE, None, [*range(100, 138), 7, 8])
    assert same is first
    assert (len(same.ids), len(cache)) == (38, 0)
    small = PrefixCache(runner, runner.nbytes(same.cache))
    small.put(same)
    small.put(other)
    assert len(small) == 1
    assert small.nbytes <= runner.nbytes(same.cache)
