"""Several sequences in one forward: the same answers as one by one, also where a forward fails."""

import random
from collections.abc import Generator
from functools import partial
from typing import Any

import pytest
import torch
from support import starcoder2

from starling_server.backends.torch import loading
from starling_server.backends.torch.loading import Loaded
from starling_server.backends.torch.runner import TorchRunner
from starling_server.config import ModelConfig
from starling_server.engine.engine import Engine, Job
from starling_server.engine.prompt_lookup import Drafter
from starling_server.engine.protocols import GREEDY, Feed

CACHE = 1 << 28
TOKENS = 12


@pytest.fixture(scope="session")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A small Starcoder2 in float32."""
    folder = starcoder2.write(tmp_path_factory.mktemp("starcoder2"))
    return loading.load(ModelConfig(base=str(folder), quantize="none", dtype="float32"))


def prompts(rows: int) -> list[list[int]]:
    """Of very different lengths, with phrases that come again, so that drafts differ in length too."""
    rng = random.Random(rows)
    phrases = [[rng.randrange(7, 8000) for _ in range(6)] for _ in range(4)]
    return [[1, *(i for _ in range(3 * (n + 1)) for i in rng.choice(phrases))] for n in range(rows)]


def jobs(rows: int, drafts: bool) -> list[Job]:
    return [
        Job(prompt, TOKENS, frozenset(), GREEDY, drafter=partial(Drafter, [prompt]) if drafts else None)
        for prompt in prompts(rows)
    ]


def together(engine: Engine, wanted: list[Job]) -> list[list[int]]:
    """All jobs in step, each forward shared by all that still run."""

    def collect(job: Job) -> Generator[Any, Any, list[int]]:
        generation, found = engine.generate(job), list[int]()
        while (token := (yield from generation.next())) is not None:
            found.append(token)
        return found

    running = [(steps := collect(job), next(steps)) for job in wanted]
    done = dict[int, list[int]]()
    order = {id(steps): n for n, (steps, _) in enumerate(running)}
    while running:
        rows = engine.feed([feed for _, feed in running])
        still = list[tuple[Any, Feed]]()
        for (steps, _), its in zip(running, rows, strict=True):
            try:
                still.append((steps, steps.send(its)))
            except StopIteration as end:
                done[order[id(steps)]] = end.value
        running = still
    return [done[n] for n in sorted(done)]


@pytest.mark.parametrize("drafts", [False, True])
@pytest.mark.parametrize("model", ["exact", "grouped"])
def test_a_batch_answers_as_its_rows_alone(model: str, drafts: bool, request: pytest.FixtureRequest) -> None:
    loaded: Loaded = request.getfixturevalue(model)
    alone = [list(Engine(TorchRunner(loaded), CACHE).generate(job)) for job in jobs(5, drafts)]
    engine = Engine(TorchRunner(loaded), CACHE, chunk=256)
    assert together(engine, jobs(5, drafts)) == alone
    assert len(engine.prefix_cache) == 5


def test_a_failed_forward_leaves_caches_as_they_were(exact: Loaded) -> None:
    runner = TorchRunner(exact)
    caches = [runner.open(None) for _ in range(2)]
    for cache, length in zip(caches, (3, 9), strict=True):
        runner.feed([Feed(cache, [*range(100, 100 + length)])])
    before = [runner.nbytes(cache) for cache in caches]
    hook = exact.model.transformer.h[5].register_forward_pre_hook(_fail)  # pyright: ignore
    for feeds in ([Feed(caches[0], [7])], [Feed(cache, [7, 8]) for cache in caches]):
        with pytest.raises(RuntimeError, match="planted"):
            runner.feed(feeds)
    hook.remove()
    assert [runner.nbytes(cache) for cache in caches] == before
    rows = runner.feed([Feed(cache, [7]) for cache in caches])
    fresh = [runner.feed([Feed(runner.open(None), [*range(100, 100 + n), 7])])[0] for n in (3, 9)]
    assert all(torch.allclose(a[-1], b[-1], atol=1e-3) for a, b in zip(rows, fresh, strict=True))


def _fail(*_: Any) -> None:
    raise RuntimeError("planted")


def test_memory_that_runs_out_costs_the_kept_sequences_and_one_more_try(exact: Loaded) -> None:
    failures = [torch.OutOfMemoryError("planted")]

    def once(*_: Any) -> None:
        if failures:
            raise failures.pop()

    engine = Engine(TorchRunner(exact), CACHE)
    list(engine.generate(Job([1, *range(100, 140)], 2, frozenset(), GREEDY)))
    assert len(engine.prefix_cache) == 1
    hook = exact.model.transformer.h[2].register_forward_pre_hook(once)  # pyright: ignore
    other = Job([1, *range(200, 240)], 4, frozenset(), GREEDY)
    answered = list(engine.generate(other))
    hook.remove()
    assert not failures
    assert len(engine.prefix_cache) == 1, "what was kept before is gone, the new one is there"
    assert answered == list(Engine(TorchRunner(exact), CACHE).generate(other))


def test_memory_that_is_not_there_is_a_clear_end(exact: Loaded) -> None:
    def always(*_: Any) -> None:
        raise torch.OutOfMemoryError("planted")

    engine = Engine(TorchRunner(exact), CACHE)
    hook = exact.model.transformer.h[2].register_forward_pre_hook(always)  # pyright: ignore
    with pytest.raises(MemoryError):
        list(engine.generate(Job([1, 100], 2, frozenset(), GREEDY)))
    hook.remove()
    assert len(list(engine.generate(Job([1, 100], 2, frozenset(), GREEDY)))) == 2
