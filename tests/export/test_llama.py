"""What is written, run by llama.cpp itself: its token ids, its logits, its greedy choices."""

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft import PeftModel
from support import random_bases, starcoder2

from starling_server.backends.llamacpp.gguf_export.write import write_adapter, write_base
from starling_server.backends.torch import loading
from starling_server.backends.torch.loading import Loaded
from starling_server.config import ModelConfig
from starling_server.models import bases, lora
from starling_server.models.bases import Base
from starling_server.models.families import table as families
from starling_server.models.families.family import PreTokenizer, Spelling
from starling_training.export import merge

if find_spec("llama_cpp") is None:
    missing = "llama.cpp is not installed: `make ggml` builds it (minutes)"
    if os.environ.get("STARLING_REQUIRE_GGML") == "1":
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing, allow_module_level=True)

from support.llama import Llama, api, llama

TOKENS = 16
CLOSE = 0.02
"""Most that a float32 logit may differ. llama.cpp looks GELU up in a float16 table: 0.005 of 18 was seen."""
TEXTS = [
    "def f(x):\n\tif x == 1234567890:\n\t\treturn 'y'\n\n\n    \t  x  \n",
    "    " * 9 + "deep\r\n" + "a" * 300 + "\n\n\n\n",
    "é ñ 漢字 ひらがな 🚀 \U0001f468\u200d\U0001f469 ½ ² Ⅷ ٣४ ß ſ ǅ e\u0301",
    "it's we'll I'D 'S 0x1F 1_000 1.5e-3 \u00a0\u3000\u2028 tail   ",
    "\x00\x01\x7f\ufeff",
    "<fim_prefix>text<fim_middle> <|endoftext|>",
    "",
]


@pytest.fixture(scope="module")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory, tiny_base: Base) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_base(tiny_base, path, "f32")
    return path


def over(base: Base, adapter: Path) -> Any:
    """transformers and peft in float32."""
    loaded = loading.load(ModelConfig(base=str(base.path), quantize="none", device="cpu", dtype="float32"))
    with loading.quiet():
        return PeftModel.from_pretrained(loaded.model, str(adapter)).eval()


@torch.inference_mode()
def logits(model: Any, ids: Sequence[int]) -> NDArray[np.float32]:
    return model(input_ids=torch.tensor([list(ids)])).logits[0].float().numpy()


def prompts(loaded: Loaded, source: str, count: int = 24) -> list[list[int]]:
    """Serving's prompts at places of a real file."""
    places = range(0, 130 * count, 130)
    texts = [(source[at : at + 260], source[at + 290 : at + 360]) for at in places]
    encode = loaded.tokenizer.encode
    return [loaded.fim.prompt(encode(before), encode(after)) for before, after in texts]


def greedy(model: Any, prompt: Sequence[int], count: int = TOKENS) -> list[int]:
    """transformers' own search, which no end of text ends."""
    ids = torch.tensor([list(prompt)])
    settings = {"max_new_tokens": count, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    return model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)[0, len(prompt) :].tolist()


def check_greedy(one: Llama, model: Any, asked: Sequence[Sequence[int]]) -> None:
    """The same 16 tokens everywhere; where they part, the best two logits were closer than twice what may differ."""
    wholly = 0
    for prompt in asked:
        found, expected = one.greedy(prompt, TOKENS), greedy(model, prompt)
        wholly += found == expected
        parting = next((n for n in range(TOKENS) if found[n] != expected[n]), None)
        if parting is not None:
            best = np.sort(logits(model, [*prompt, *expected[:parting]])[-1])
            assert best[-1] - best[-2] < 2 * CLOSE
    assert wholly >= 0.9 * len(asked)


def check_logits(one: Llama, model: Any, asked: Sequence[Sequence[int]], close: float = CLOSE) -> None:
    for prompt in asked:
        found, expected = one.logits(prompt), logits(model, prompt)
        assert expected.std() > 0.3, "logits that say something"
        assert np.abs(found - expected).max() < close


def test_text_becomes_the_same_ids(tiny_gguf: Path, exact: Loaded, source: str) -> None:
    with llama(tiny_gguf) as one:
        for text in (*TEXTS, source):
            assert one.tokens(text) == exact.tokenizer.encode(text)


def test_sentinels_are_the_same_ids_where_they_are_meant(tiny_gguf: Path, exact: Loaded) -> None:
    encode = exact.tokenizer.encode
    with llama(tiny_gguf) as one:
        written = "<fim_prefix><fim_suffix>\n    return x\n<fim_middle>def f(x):\n"
        assert one.tokens(written, special=True) == exact.fim.prompt(encode("def f(x):\n"), encode("\n    return x\n"))
        ids = exact.fim
        asked = (api.llama_vocab_fim_pre, api.llama_vocab_fim_mid, api.llama_vocab_fim_suf, api.llama_vocab_fim_pad)
        assert [ask(one.vocabulary) for ask in asked] == [ids.prefix, ids.middle, ids.suffix, ids.pad]
        ends = {token for token in range(one.size) if api.llama_vocab_is_eog(one.vocabulary, token)}
        assert ends == ids.stops - {ids.prefix, ids.middle, ids.suffix}


@pytest.mark.slow
def test_the_bundled_base_writes_the_same(tiny_gguf: Path, exact: Loaded, source: str) -> None:
    with llama(tiny_gguf) as one:
        asked = prompts(exact, source)
        check_logits(one, exact.model, asked)
        check_greedy(one, exact.model, asked)


@pytest.mark.slow
def test_a_trained_adapter_writes_the_same(
    tiny_gguf: Path, exact: Loaded, trained: Path, tiny_base: Base, source: str, tmp_path: Path
) -> None:
    write_adapter(trained, tiny_base, tmp_path / "lora.gguf")
    with llama(tiny_gguf) as one:
        asked = prompts(exact, source)
        bare = one.logits(asked[0])
        one.use(tmp_path / "lora.gguf")
        assert np.abs(one.logits(asked[0]) - bare).max() > 100 * CLOSE, "the adapter changes something"
        model = over(tiny_base, trained)
        check_logits(one, model, asked)
        check_greedy(one, model, asked)


@pytest.mark.parametrize("name", ["rslora", "patterns"])
def test_adapters_of_other_shapes_compute_the_same(
    name: str, tiny_gguf: Path, exact: Loaded, lora_over: Callable[[Base, str], Path], tiny_base: Base, source: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    adapter = lora_over(tiny_base, name)
    write_adapter(adapter, tiny_base, tmp_path / "lora.gguf")
    with llama(tiny_gguf) as one:
        one.use(tmp_path / "lora.gguf")
        check_logits(one, over(tiny_base, adapter), prompts(exact, source, 4))


def test_a_starcoder2_computes_the_same_with_and_without_an_adapter(
    lora_over: Callable[[Base, str], Path], source: str, tmp_path: Path
) -> None:
    """Grouped queries, rotary positions, a head of its own; random weights large enough to say something."""
    folder = starcoder2.write(tmp_path, initializer_range=0.15, tie_word_embeddings=False, rope_theta=999_999.0)
    base, adapter = bases.find(str(folder)), lora_over(bases.find(str(folder)), "patterns")
    write_base(base, tmp_path / "base.gguf", "f32")
    write_adapter(adapter, base, tmp_path / "lora.gguf")
    loaded = loading.load(ModelConfig(base=str(folder), quantize="none", device="cpu", dtype="float32"))
    with llama(tmp_path / "base.gguf") as one:
        assert one.tokens(source[:2000]) == loaded.tokenizer.encode(source[:2000])
        asked = [prompt[:250] for prompt in prompts(loaded, source, 6)]
        check_logits(one, loaded.model, asked)
        one.use(tmp_path / "lora.gguf")
        check_logits(one, over(base, adapter), asked)


DECODERS: dict[str, tuple[str, Spelling, PreTokenizer, dict[str, Any]]] = {
    "qwen2": ("qwen2", families.QWEN, families.QWEN2_SPLIT, {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", families.QWEN, families.QWEN2_SPLIT, {}),
    "llama": ("llama", families.STARCODER, families.BIGCODE_SPLITS[0], {"attention_bias": True, "mlp_bias": True}),
    "deepseek-coder": (
        "llama", families.DEEPSEEK_CODER, families.DEEPSEEK_SPLIT,
        {"rope_scaling": {"rope_type": "linear", "factor": 4.0, "rope_theta": 100_000.0}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DECODERS)
def test_families_of_llama_s_kind_compute_the_same(name: str, source: str, tmp_path: Path) -> None:
    """RMSNorm, a gated feed-forward, biases, rows of q and k in llama.cpp's order; the same of a LoRA on all of it."""
    model_type, spelling, split, settings = DECODERS[name]
    folder = random_bases.write(tmp_path / "base", model_type, spelling, split, **settings)
    base, model = bases.find(str(folder)), random_bases.adapted(folder, tmp_path / "mine")
    write_base(base, tmp_path / "base.gguf", "f32")
    write_adapter(tmp_path / "mine", base, tmp_path / "lora.gguf")
    loaded = loading.load(ModelConfig(base=str(folder), quantize="none", device="cpu", dtype="float32"))
    asked = prompts(loaded, source, 50)
    with llama(tmp_path / "base.gguf") as one:
        for text in (*TEXTS, source):
            assert one.tokens(text) == loaded.tokenizer.encode(text)
        check_logits(one, loaded.model, asked[:4], 1e-3)
        assert [one.greedy(prompt, 4) for prompt in asked] == [greedy(loaded.model, prompt, 4) for prompt in asked]
        one.use(tmp_path / "lora.gguf")
        check_logits(one, model, asked[:4], 1e-3)


@pytest.mark.parametrize(("kind", "close"), [("f16", 0.05), ("bf16", 0.4), ("q8_0", 1.0)])
def test_a_merged_model_of_every_type(
    kind: Any, close: float, trained: Path, tiny_base: Base, exact: Loaded, source: str, tmp_path: Path
) -> None:
    """llama.cpp rounds activations to the weights' type as well; of logits up to 18, 0.016, 0.14 and 0.43 were seen."""
    merge.write(tiny_base, lora.read(trained), {}, tmp_path)
    write_base(bases.find(str(tmp_path)), tmp_path / "merged.gguf", kind)
    expected = loading.load(ModelConfig(base=str(tmp_path), quantize="none", device="cpu", dtype="float32"))
    with llama(tmp_path / "merged.gguf") as one:
        check_logits(one, expected.model, prompts(exact, source, 6), close)
