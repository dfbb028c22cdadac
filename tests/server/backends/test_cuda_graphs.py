"""Decoding over fixed addresses gives the answers of ordinary forwards; on a GPU, graphs give those of their steps."""

import logging
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support import adapter, starcoder2
from torch.utils._python_dispatch import TorchDispatchMode

from starling_server.backends.torch import cuda_graphs, loading
from starling_server.backends.torch.cuda_graphs import Capture, GraphedDecode, Work, uncaptured
from starling_server.backends.torch.loading import Loaded
from starling_server.backends.torch.runner import TorchRunner
from starling_server.config import ModelConfig
from starling_server.engine.engine import Engine, Job
from starling_server.engine.prompt_lookup import Drafter
from starling_server.engine.protocols import GREEDY, AdapterId, Feed, Runner
from starling_server.models import bases

CACHE = 1 << 28
TOKENS = 12


@pytest.fixture(scope="module")
def exact() -> Loaded:
    """A base of this module's own, since adapters go into it."""
    return loading.load(ModelConfig(base="tiny", quantize="none", device="cpu", dtype="float32"))


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = starcoder2.write(tmp_path_factory.mktemp("starcoder2"))
    return loading.load(ModelConfig(base=str(folder), quantize="none", device="cpu", dtype="float32"))


def prompt(seed: int, phrases: int) -> list[int]:
    """Phrases that come again, so that there is something to draft."""
    rng = random.Random(seed)
    known = [[rng.randrange(7, 8000) for _ in range(6)] for _ in range(4)]
    return [1, *(i for _ in range(phrases) for i in rng.choice(known))]


def job(ids: list[int], drafts: bool = False, tokens: int = TOKENS, name: AdapterId | None = None) -> Job:
    return Job(ids, tokens, frozenset(), GREEDY, name, drafter=partial(Drafter, [ids]) if drafts else None)


class Counting:
    """A capture that says which works were made and how often they ran."""

    def __init__(self) -> None:
        self.made = self.ran = 0

    def __call__(self, work: Work) -> Work:
        self.made += 1

        def counted() -> torch.Tensor:
            self.ran += 1
            return work()

        return counted


@pytest.mark.parametrize("drafts", [False, True])
@pytest.mark.parametrize("model", ["exact", "grouped"])
def test_answers_are_the_torch_runner_s(model: str, drafts: bool, request: pytest.FixtureRequest) -> None:
    loaded: Loaded = request.getfixturevalue(model)
    wanted = [job(prompt(seed, phrases), drafts) for seed, phrases in ((0, 3), (1, 20), (2, 9), (0, 4), (1, 22))]
    plain, capture = Engine(TorchRunner(loaded), CACHE), Counting()
    expected = [list(plain.generate(each)) for each in wanted]
    engine = Engine(graphed(loaded, capture), CACHE)
    assert [list(engine.generate(each)) for each in wanted] == expected
    assert [list(engine.generate(each)) for each in wanted] == expected, "from kept sequences, mirrored again"
    assert (
        0
        < capture.made
        <= len(cuda_graphs.SIZES) * (1 + sum(size < engine.runner.context for size in cuda_graphs.BUCKETS))
    )
    assert capture.ran > len(wanted)


def graphed(loaded: Loaded, capture: Capture) -> TorchRunner:
    return TorchRunner(loaded, GraphedDecode(loaded.model, loaded.base.context, capture))


def both(loaded: Loaded) -> list[Runner]:
    return [TorchRunner(loaded), graphed(loaded, uncaptured)]


def fed(runner: Runner, cache: Any, ids: list[int], keep: int = 1) -> torch.Tensor:
    return torch.as_tensor(runner.feed([Feed(cache, ids, keep)])[0])


@pytest.mark.parametrize("model", ["exact", "grouped"])
def test_rewound_and_forked_sequences_stay_apart(model: str, request: pytest.FixtureRequest) -> None:
    found = list[list[torch.Tensor]]()
    for runner in both(request.getfixturevalue(model)):
        ids = prompt(3, 8)
        first = runner.open(None)
        rows = [fed(runner, first, ids), fed(runner, first, [7, 8, 9, 10], 4), fed(runner, first, [11])]
        second = runner.fork(first, len(ids) + 2)
        rows += [fed(runner, second, [21, 22], 2), fed(runner, first, [12, 13, 14], 3), fed(runner, second, [23])]
        runner.rewind(first, len(ids) + 1)
        rows += [fed(runner, first, [31]), fed(runner, first, prompt(4, 2)), fed(runner, first, [32])]
        runner.rewind(first, 5)
        rows += [fed(runner, first, prompt(5, 1)), fed(runner, first, [33]), fed(runner, second, [34, 35], 1)]
        runner.close(first)
        rows.append(fed(runner, second, [36]))
        found.append(rows)
    for expected, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_a_step_after_a_shared_forward_sees_what_that_added(exact: Loaded) -> None:
    found = list[torch.Tensor]()
    for runner in both(exact):
        caches = [runner.open(None) for _ in range(2)]
        for cache, phrases in zip(caches, (2, 5), strict=True):
            fed(runner, cache, prompt(phrases, phrases))
            fed(runner, cache, [7])
        runner.feed([Feed(cache, [8, 9]) for cache in caches])
        found += [fed(runner, cache, [10]) for cache in caches]
    for expected, ours in zip(found[:2], found[2:], strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_a_sequence_outgrows_its_bucket_and_the_context_s_end(grouped: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "BUCKETS", (16, 32, 512))
    ids, tokens = prompt(6, 2), 256 - 13
    capture = Counting()
    engine = Engine(graphed(grouped, capture), CACHE)
    assert engine.runner.context == 256
    assert len(ids) == 13
    expected = list(Engine(TorchRunner(grouped), CACHE).generate(job(ids, True, tokens)))
    assert list(engine.generate(job(ids, True, tokens))) == expected
    assert len(expected) == tokens
    assert list(engine.generate(job(ids, False, tokens))) == expected
    assert capture.made == 2 * 3 - 1, "one and four ids in 16, 32 and the context; four more never fit into 16"


def test_adapters_are_switched_without_new_works_until_one_has_a_larger_rank(exact: Loaded, tmp_path: Path) -> None:
    base, names = bases.find("tiny"), ("a", "b")
    for seed, name in enumerate(names):
        adapter.write(tmp_path / name, base, seed)
    ids, turns = prompt(7, 6), ("a", None, "b", "a", "b", None)
    plain, capture = TorchRunner(exact), Counting()
    for name in names:
        plain.add_adapter(name, tmp_path / name)
    expected = {name: list(Engine(plain, 0).generate(job(ids, name=name))) for name in (None, *names)}
    assert len({tuple(answer) for answer in expected.values()}) == 3
    runner = graphed(exact, capture)
    engine = Engine(runner, CACHE)
    assert list(engine.generate(job(ids))) == expected[None]
    for name in names:
        runner.add_adapter(name, tmp_path / name)
    assert runner.adapters == names
    for name in turns:
        assert list(engine.generate(job(ids, name=name))) == expected[name]
    assert capture.made == 2, "for the bare base, and once the layers had a place for adapters"
    scores, other = runner.score("b", ids, 1), TorchRunner(exact)
    other.add_adapter("b", tmp_path / "b")
    assert scores == pytest.approx(other.score("b", ids, 1), abs=1e-4)


def test_where_nothing_can_be_captured_decoding_goes_on(exact: Loaded, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(work: Work) -> Work:
        work()
        raise RuntimeError("operation not permitted when stream is capturing\nand much more")

    runner = graphed(exact, refuse)
    with caplog.at_level(logging.WARNING):
        answers = [list(Engine(runner, CACHE).generate(job(prompt(n, 4), True))) for n in range(2)]
    assert answers == [list(Engine(TorchRunner(exact), CACHE).generate(job(prompt(n, 4), True))) for n in range(2)]
    assert [record.message for record in caplog.records] == [
        "CUDA graphs are off, so decoding is slower: a graph could not be captured "
        "(operation not permitted when stream is capturing)"
    ]


def test_a_failed_step_leaves_the_sequence_as_it_was(exact: Loaded) -> None:
    runner = graphed(exact, uncaptured)
    cache = runner.open(None)
    ids = prompt(8, 3)
    fed(runner, cache, ids)
    expected = fed(runner, cache, [7])
    runner.rewind(cache, len(ids))
    hook = exact.model.transformer.h[5].register_forward_pre_hook(_out_of_memory)  # pyright: ignore
    with pytest.raises(MemoryError):
        fed(runner, cache, [9])
    hook.remove()
    torch.testing.assert_close(fed(runner, cache, [7]), expected)


def test_memory_for_graphs_that_is_never_there_is_decoding_without(exact: Loaded) -> None:
    def refuse(_: Work) -> Work:
        raise torch.OutOfMemoryError("planted")

    engine = Engine(graphed(exact, refuse), CACHE)
    answer = list(engine.generate(job(prompt(9, 3))))
    assert answer == list(Engine(TorchRunner(exact), CACHE).generate(job(prompt(9, 3))))


class Waiting(TorchDispatchMode):
    """Notes operations that a captured stream cannot do: those that bring numbers to the host or from it."""

    NAMES = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "lift_fresh", "masked_select", "unique")

    def __init__(self) -> None:
        super().__init__()
        self.seen = list[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).removeprefix("aten.").partition(".")[0]
        if name in self.NAMES:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("model", ["exact", "grouped"])
def test_a_step_neither_waits_for_numbers_nor_brings_any(model: str, request: pytest.FixtureRequest) -> None:
    waiting = Waiting()

    def watched(work: Work) -> Work:
        def run() -> torch.Tensor:
            with waiting:
                return work()

        return run

    runner = graphed(request.getfixturevalue(model), watched)
    cache = runner.open(None)
    for ids in (prompt(1, 3), [7], [8, 9, 10, 11]):
        fed(runner, cache, ids)
    assert waiting.seen == []
    with waiting:
        assert torch.ones(1).item() == 1
    assert waiting.seen == ["_local_scalar_dense"], "it would be seen"


def _out_of_memory(*_: Any) -> None:
    raise torch.OutOfMemoryError("planted")


def on_a_gpu(folder: Path | None) -> Loaded:
    name = str(folder) if folder else "tiny"
    return loading.load(ModelConfig(base=name, quantize="none", device="cuda", dtype="float32"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")
@pytest.mark.parametrize("write", [None, starcoder2.write])
def test_graphs_answer_as_their_steps_do(write: Callable[[Path], Path] | None, tmp_path: Path) -> None:
    loaded = on_a_gpu(write and write(tmp_path))
    if not write:
        adapter.write(tmp_path / "x", bases.find("tiny"), 0)
    answers = list[list[list[int]]]()
    for capture in (uncaptured, cuda_graphs.capturing(loaded.device)):
        decode = GraphedDecode(loaded.model, loaded.base.context, capture)
        runner = TorchRunner(loaded, decode)
        if not write:
            runner.add_adapter("x", tmp_path / "x")
        engine = Engine(runner, CACHE)
        asked = [job(prompt(n, 3 * n + 2), drafts, name=x) for n in range(4) for drafts in (False, True)
                 for x in (None, *runner.adapters)]  # fmt: skip
        answers.append([list(engine.generate(each)) for each in asked])
        assert decode.active, "graphs were not given up"
    assert answers[0] == answers[1]
