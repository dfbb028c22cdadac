"""Qwen2 and Llama under torch: the engine's answers are transformers' own, whatever serves them."""

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from support import random_bases

from starling_server.backends.torch import loading
from starling_server.backends.torch.cuda_graphs import GraphedDecode, uncaptured
from starling_server.backends.torch.loading import Loaded
from starling_server.backends.torch.runner import TorchRunner
from starling_server.config import ModelConfig, Quantize
from starling_server.engine.engine import Engine, Job
from starling_server.engine.prompt_lookup import Drafter
from starling_server.engine.protocols import GREEDY, AdapterId, Feed
from starling_server.models.families import table as families
from starling_server.models.families.family import PreTokenizer, Spelling
from starling_server.prompt import window
from starling_server.prompt.cursor import Cursor

CUTS, TOKENS, CACHE = 8, 8, 1 << 26
BASES: dict[str, tuple[str, Spelling, PreTokenizer]] = {
    "qwen2": ("qwen2", families.QWEN, families.QWEN2_SPLIT),
    "llama": ("llama", families.DEEPSEEK_CODER, families.LLAMA3_SPLIT),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {name: random_bases.write(root / name, *of) for name, of in BASES.items()}


def load(folder: Path, quantize: Quantize = "none") -> Loaded:
    dtype = "auto" if quantize == "int8" else "float32"
    return loading.load(ModelConfig(base=str(folder), quantize=quantize, device="cpu", dtype=dtype))


@pytest.fixture(scope="module", params=list(BASES))
def exact(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Loaded:
    return load(folders[request.param])


def prompts(loaded: Loaded, source: str) -> list[list[int]]:
    """Prompts at cuts of a real file, each followed by the one after some typing."""
    rng, made = random.Random(0), list[list[int]]()
    budget = window.budget(loaded.base.context, TOKENS, loaded.fim.sentinels)
    for at in (rng.randrange(len(source) - 10) for _ in range(CUTS)):
        for typed in (0, 10):
            cut = window.fit(Cursor.at(source[: at + typed], source[at + 10 :]), budget, loaded.tokenizer.encode)
            made.append(loaded.fim.prompt(cut.prefix, cut.suffix))
    return made


def job(loaded: Loaded, prompt: Sequence[int], name: AdapterId | None = None, drafts: bool = False) -> Job:
    ids = list(prompt)
    return Job(ids, TOKENS, loaded.fim.stops, GREEDY, name, drafter=partial(Drafter, [ids]) if drafts else None)


def theirs(loaded: Loaded, prompt: Sequence[int]) -> list[int]:
    """transformers' own greedy search, up to the first stop."""
    ids = torch.tensor([list(prompt)])
    out = loaded.model.generate(  # pyright: ignore[reportCallIssue]
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False,
        eos_token_id=sorted(loaded.fim.stops), pad_token_id=loaded.fim.pad,
    )  # fmt: skip
    return [token for token in out[0, len(prompt) :].tolist() if token not in loaded.fim.stops]


def test_answers_are_transformers_own(exact: Loaded, source: str) -> None:
    """With cached keys and values and without, with drafts, over fixed addresses, and several at a time."""
    asked = prompts(exact, source)
    expected = [theirs(exact, prompt) for prompt in asked]
    fresh, kept = Engine(TorchRunner(exact), 0), Engine(TorchRunner(exact), CACHE)
    graphs = Engine(TorchRunner(exact, GraphedDecode(exact.model, exact.base.context, uncaptured)), CACHE)
    assert [list(fresh.generate(job(exact, prompt))) for prompt in asked] == expected
    generations = [kept.generate(job(exact, prompt, drafts=True)) for prompt in asked]
    assert [list(generation) for generation in generations] == expected
    assert sum(generation.usage.cached_tokens > 8 for generation in generations) >= CUTS
    assert [list(graphs.generate(job(exact, prompt))) for prompt in asked] == expected


def test_several_sequences_share_a_forward(exact: Loaded, source: str) -> None:
    runner, asked = TorchRunner(exact), prompts(exact, source)[:4]
    alone = [runner.feed([Feed(runner.open(None), prompt, 1)])[0] for prompt in asked]
    caches = [runner.open(None) for _ in asked]
    for cache, prompt in zip(caches, asked, strict=True):
        runner.feed([Feed(cache, prompt[:-1], 1)])
    together = runner.feed([Feed(cache, prompt[-1:], 1) for cache, prompt in zip(caches, asked, strict=True)])
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_an_adapter_on_every_layer(exact: Loaded, source: str, tmp_path: Path) -> None:
    """Queries, keys, values, output, gate, up and down; the bare base is as before afterwards."""
    model = random_bases.adapted(exact.base.path, tmp_path / "mine")
    runner = TorchRunner(exact)
    runner.add_adapter("mine", tmp_path / "mine")
    prompt = prompts(exact, source)[0]
    with_it = runner.feed([Feed(runner.open("mine"), prompt, 1)])[0]
    bare = runner.feed([Feed(runner.open(None), prompt, 1)])[0]
    with torch.inference_mode():
        expected = model(input_ids=torch.tensor([prompt])).logits[0, -1:]
    torch.testing.assert_close(with_it, expected, rtol=1e-3, atol=1e-3)
    assert (with_it - bare).abs().max() > 0.1


@pytest.mark.parametrize("quantize", ["nf4", "int8"])
@pytest.mark.parametrize("name", list(BASES))
def test_fewer_bits_stay_near(name: str, quantize: Quantize, folders: dict[str, Path], source: str) -> None:
    loaded, whole = load(folders[name], quantize), load(folders[name])
    prompt = prompts(whole, source)[0]
    few, all_bits = (
        runner.feed([Feed(runner.open(None), prompt, 1)])[0].float() for runner in map(TorchRunner, (loaded, whole))
    )
    assert (few - all_bits).norm() / all_bits.norm() < (0.05 if quantize == "int8" else 0.7)  # 0.44 was seen in nf4


@pytest.mark.parametrize(("on", "context"), [(False, 512), (True, 128)])
def test_a_window_counts_only_where_it_is_switched_on(on: bool, context: int, tmp_path: Path) -> None:
    """Qwen's configurations name a window that they do not use."""
    folder = random_bases.write(tmp_path, "qwen2", use_sliding_window=on, sliding_window=128, max_window_layers=0)
    assert load(folder).base.context == context
