"""The ggml runner against llama.cpp's own plain loop over the same files, and what it costs and refuses."""

import math
import os
import random
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if find_spec("llama_cpp") is None:
    missing = "llama.cpp is not installed: `make ggml` builds it (minutes)"
    if os.environ.get("STARLING_REQUIRE_GGML") == "1":
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing, allow_module_level=True)

from support import adapter
from support.llama import Llama, llama

from starling_server.backends.llamacpp import loading
from starling_server.backends.llamacpp.bindings import Aborted, Weights
from starling_server.backends.llamacpp.gguf_export import export_cache as kept
from starling_server.backends.llamacpp.loading import Loaded
from starling_server.backends.llamacpp.runner import SEQUENCES, GgmlCache, GgmlRunner
from starling_server.config import GgmlType, ModelConfig
from starling_server.engine.engine import Engine, Job
from starling_server.engine.protocols import GREEDY, Feed
from starling_server.errors import AdapterError, BaseModelError
from starling_server.models import bases
from starling_server.models.bases import Base

CACHE = 1 << 28
TOKENS = 12
CLOSE = 0.05
"""Most that two ways of one sum may differ in a float32 logit. llama.cpp looks GELU up in a float16 table, which makes
0.003 of a last bit."""


@pytest.fixture(scope="module")
def base() -> Base:
    return bases.find("tiny")


@pytest.fixture(scope="module")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf")


def loaded_as(kind: GgmlType, cache_home: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    monkeypatch.setenv("STARLING_CACHE_DIR", str(cache_home))
    return loading.load(ModelConfig(base="tiny", device="cpu", ggml_type=kind))


@pytest.fixture
def loaded(cache_home: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    return loaded_as("f32", cache_home, monkeypatch)


@pytest.fixture
def runner(loaded: Loaded) -> GgmlRunner:
    """Keys and values in float32, so that sums agree in any order."""
    return GgmlRunner(loaded, CACHE, keys="f32")


def prompts(loaded: Loaded, source: str, count: int) -> list[list[int]]:
    """Serving's prompts at places of a real file, each other one some keys after the one before it."""
    encode, found = loaded.tokenizer.encode, list[list[int]]()
    for number in range(count):
        at = 500 + 150 * (number // 2) + 7 * (number % 2)
        found.append(loaded.fim.prompt(encode(source[at - 400 : at]), encode(source[at + 20 : at + 200])))
    return found


def complete(engine: Engine, prompt: list[int], name: str | None) -> list[int]:
    return list(engine.generate(Job(prompt, TOKENS, frozenset(), GREEDY, name)))


def check_same(one: Llama, prompt: list[int], found: list[int], close: float) -> bool:
    """Equal tokens, or the best two were nearer than what rounding may do where they part."""
    expected = one.greedy(prompt, TOKENS)
    parting = next((n for n in range(TOKENS) if found[n] != expected[n]), None)
    if parting is not None:
        best = np.sort(one.logits([*prompt, *expected[:parting]])[-1])
        assert best[-1] - best[-2] < close
    return parting is None


@pytest.mark.parametrize(("kind", "close"), [("f32", 2 * CLOSE), ("q4_0", 0.3)])
def test_the_engine_writes_what_llama_cpp_writes(
    kind: GgmlType, close: float, base: Base, source: str, cache_home: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The bare base and two adapters in turn, kept caches continued; llama.cpp reads each prompt from the start."""
    loaded = loaded_as(kind, cache_home, monkeypatch)
    runner = GgmlRunner(loaded, CACHE)
    files: dict[str | None, Path | None] = {None: None}
    for seed, name in enumerate(("a.b", "c")):
        folder = adapter.write(tmp_path / name, base, seed)
        runner.add_adapter(name, folder)
        files[name] = kept.adapter(folder, base, loaded.fingerprint)
    assert runner.adapters == ("a.b", "c")
    engine, asked, same, written = Engine(runner, CACHE), prompts(loaded, source, 8), 0, set[tuple[int, ...]]()
    found = {(name, n): complete(engine, prompt, name) for n, prompt in enumerate(asked) for name in files}
    with llama(loaded.file, keys="f16", flash=True) as one:
        for name, file in files.items():
            one.use(file)
            same += sum(check_same(one, prompt, found[name, n], close) for n, prompt in enumerate(asked))
            written.add(tuple(found[name, 0]))
    assert len(written) == 3, "adapters change something"
    assert same >= 0.7 * len(found)


def test_random_edits_compute_as_if_from_the_start(runner: GgmlRunner, loaded: Loaded) -> None:
    rng, held = random.Random(3), list[tuple[GgmlCache, list[int]]]()
    with llama(loaded.file) as one:
        for _ in range(120):
            step = rng.choice(["open", "extend", "extend", "rewind", "fork", "close"])
            if step == "open" or not held:
                held.append((runner.open(None), []))
                continue
            cache, ids = held[rng.randrange(len(held))]
            if step == "extend":
                ids += (new := [rng.randrange(8, 8000) for _ in range(rng.choice([1, 3, 40]))])
                row = runner.feed([Feed(cache, new)])[0][-1]
                assert np.abs(row - one.logits(ids)[-1]).max() < CLOSE
            elif step == "rewind":
                runner.rewind(cache, length := rng.randint(0, len(ids)))
                del ids[length:]
            elif step == "fork":
                held.append((runner.fork(cache, length := rng.randint(0, len(ids))), ids[:length]))
            else:
                runner.close(cache)
                held = [(other, kept) for other, kept in held if other is not cache]


def test_several_sequences_in_one_forward_equal_one_by_one(runner: GgmlRunner, source: str, loaded: Loaded) -> None:
    ids = loaded.tokenizer.encode(source)
    pieces = [(ids[:300], 1), (ids[300:301], 1), (ids[400:700], 5), (ids[20:40], 20)]  # more than one llama_decode
    caches = [runner.open(None) for _ in pieces][::-1]
    together = runner.feed([Feed(cache, piece, keep) for cache, (piece, keep) in zip(caches, pieces, strict=True)])
    for (piece, keep), rows in zip(pieces, together, strict=True):
        alone = runner.feed([Feed(runner.open(None), piece, keep)])[0]
        assert rows.shape == alone.shape == (keep, 8192)
        assert np.abs(rows - alone).max() < CLOSE


def test_a_forward_without_room_changes_nothing(loaded: Loaded, source: str) -> None:
    """Two caches of the smallest size; where one is full, both keep what they had, and can go on."""
    runner, ids = GgmlRunner(loaded, 0, 500, keys="f32"), (loaded.tokenizer.encode(source) * 2)[:1000]
    first, second = runner.open(None), runner.open(None)
    with pytest.raises(MemoryError):
        runner.open(None)
    runner.feed([Feed(first, ids[:500])])
    runner.feed([Feed(second, ids[:10])])
    with pytest.raises(MemoryError):
        runner.feed([Feed(second, ids[10:600])])
    assert (first.length, second.length) == (500, 10)
    row = runner.feed([Feed(second, ids[10:400])])[0][-1]
    with llama(loaded.file) as one:
        assert np.abs(row - one.logits(ids[:400])[-1]).max() < CLOSE


def test_a_forward_can_be_stopped_from_another_thread(runner: GgmlRunner, source: str, loaded: Loaded) -> None:
    ids, done = (loaded.tokenizer.encode(source) * 2)[:1000], threading.Event()
    cache = runner.open(None)
    runner.feed([Feed(cache, ids[:10])])

    def stop() -> None:
        while not done.wait(0.001):
            runner.abort()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(Aborted):
        runner.feed([Feed(cache, ids[10:])])
    done.set()
    thread.join()
    assert cache.length == 10
    row = runner.feed([Feed(cache, ids[10:60])])[0][-1]
    with llama(loaded.file) as one:
        assert np.abs(row - one.logits(ids[:60])[-1]).max() < CLOSE


def test_sequences_run_out_and_come_back(loaded: Loaded) -> None:
    runner = GgmlRunner(loaded, 1 << 30)
    caches = [runner.open(None) for _ in range(SEQUENCES)]
    with pytest.raises(MemoryError):
        runner.open(None)
    with pytest.raises(MemoryError):
        runner.fork(caches[0], 0)
    runner.close(caches[5])
    assert runner.open(None).length == 0
    assert runner.spare_bytes // runner.nbytes(caches[0]) == SEQUENCES - runner.rows, "bytes run out before"


def test_scores_are_log_probabilities(runner: GgmlRunner, source: str, loaded: Loaded) -> None:
    ids = loaded.tokenizer.encode(source)[:700]
    with llama(loaded.file) as one:
        logits = one.logits(ids).astype(np.float64)
    expected = [float(row[token] - np.log(np.exp(row).sum())) for row, token in zip(logits, ids[1:], strict=False)]
    for start in (1, 511, 512, 513, 699):
        assert runner.score(None, ids, start) == pytest.approx(expected[start - 1 :], abs=CLOSE)
    assert math.exp(sum(expected) / len(expected)) > 1 / 8192


def test_an_adapter_can_go(runner: GgmlRunner, base: Base, tmp_path: Path) -> None:
    bare = runner.feed([Feed(runner.open(None), [5, 6, 7])])[0]
    for seed in (0, 1):
        runner.add_adapter("x", adapter.write(tmp_path / "x", base, seed))
        changed = runner.feed([Feed(cache := runner.open("x"), [5, 6, 7])])[0]
        assert np.abs(changed - bare).max() > 0.1
        runner.close(cache)
        runner.remove_adapter("x")
    assert runner.adapters == ()
    assert np.abs(runner.feed([Feed(runner.open(None), [5, 6, 7])])[0] - bare).max() < CLOSE


@pytest.mark.parametrize("damage", [{"use_dora": True}, {"peft_type": "IA3"}])
def test_what_is_no_lora_is_refused(damage: dict[str, Any], runner: GgmlRunner, base: Base, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="more than a LoRA"):
        runner.add_adapter("x", adapter.write(tmp_path / "x", base, 0, **damage))
    assert runner.adapters == ()


def test_a_damaged_file_is_refused(loaded: Loaded, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(loaded.file.read_bytes()[:100_000])
    with pytest.raises(BaseModelError, match=r"llama.cpp cannot load .*broken.gguf"):
        Weights(broken)


def test_bytes_of_a_cache(runner: GgmlRunner) -> None:
    """Keys and values of 64 float32 numbers in each of 8 layers, for each of 1024 tokens."""
    assert runner.nbytes(runner.open(None)) == 1024 * 8 * 2 * 64 * 4
