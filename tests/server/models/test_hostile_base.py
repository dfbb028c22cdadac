"""Base folders from anywhere: refused before anything is made in the sizes that they say."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from starling_server.backends.llamacpp.gguf_export import architecture, vocabulary
from starling_server.backends.torch import loading
from starling_server.config import ModelConfig
from starling_server.errors import BaseModelError
from starling_server.models import bases

CONFIG, WEIGHTS, INDEX, TOKENIZER = (
    "config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.json",
)  # fmt: skip
Spoil = Callable[[Path], object]


def text(name: str, content: str) -> Spoil:
    return lambda folder: (folder / name).write_text(content, encoding="utf-8")


def config(**changes: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / CONFIG).write_text(json.dumps({**json.loads((folder / CONFIG).read_text()), **changes}))

    return spoil


def pipe(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return spoil


def index(content: str) -> Spoil:
    """Shards in place of the whole file."""

    def spoil(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder / "model-00001-of-00001.safetensors")
        (folder / INDEX).write_text(content)

    return spoil


FORMS: dict[str, tuple[Spoil, str]] = {
    "config-deep": (text(CONFIG, "[" * 200_000), "is not valid JSON"),
    "config-list": (text(CONFIG, "[]"), "is not a JSON object"),
    "config-huge": (text(CONFIG, "{" + " " * (2 << 20) + "}"), "larger than 1 MiB"),
    "config-pipe": (pipe(CONFIG), r"has no config\.json"),
    "config-twice": (text(CONFIG, '{"model_type": "a", "model_type": "gpt_bigcode"}'), "twice"),
    "model-type": (config(model_type=["gpt_bigcode"]), "supported are"),
    "layers-many": (config(n_layer=10**9), "n_layer is 1000000000"),
    "layers-more": (config(n_layer=9), "8 layers, fewer than config"),
    "layers-text": (config(n_layer="8"), "n_layer is 8"),
    "positions-many": (config(n_positions=1 << 19), "wpe.weight has the shape"),
    "vocabulary-negative": (config(vocab_size=-1), "vocab_size is -1"),
    "vocabulary-other": (config(vocab_size=9000), "wte.weight has the shape"),
    "vocabulary-none": (config(vocab_size=None), "vocab_size is missing"),
    "width-bool": (config(n_embd=True), "n_embd is True"),
    "quantised-list": (config(quantization_config=[1]), "quantization_config"),
    "quantised-by-a-list": (config(quantization_config={"quant_method": [1]}), "quantization_config"),
    "computes-in-load": (
        config(quantization_config={"quant_method": "bitsandbytes", "bnb_4bit_compute_dtype": "load"}),
        "computes in load",
    ),
    "heads-odd": (config(n_head=7), "cannot be loaded"),
    "weights-pipe": (pipe(WEIGHTS), r"no \.safetensors weights"),
    "weights-cut": (lambda folder: os.truncate(folder / WEIGHTS, 1 << 20), "header says"),
    "weights-text": (text(WEIGHTS, "not weights at all, whatever"), "not a complete safetensors"),
    "index-deep": (index("[" * 200_000), "is not valid JSON"),
    "index-list": (index("[]"), "is not a JSON object"),
    "index-empty": (index("{}"), "no weight_map"),
    "index-climbs": (index('{"weight_map": {"a": "../../../etc/x.safetensors"}}'), "not a safetensors file in"),
    "index-numbers": (index('{"weight_map": {"a": 7}}'), "not a safetensors file in"),
    "index-lies": (index('{"weight_map": {"a": "model-2.safetensors"}}'), "No such file"),
    "tokenizer-pipe": (pipe(TOKENIZER), r"has no tokenizer\.json"),
    "tokenizer-huge": (lambda folder: os.truncate(folder / TOKENIZER, 1 << 34), "over 64 MiB"),
    "tokenizer-deep": (text(TOKENIZER, "[" * 200_000), "tokenizer of base"),
    "tokenizer-list": (text(TOKENIZER, "[]"), "tokenizer of base"),
}  # fmt: skip


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(bases.TINY_DIR, tmp_path / "copied"))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_refused_in_one_sentence(form: str, copied: Path) -> None:
    spoil, words = FORMS[form]
    spoil(copied)
    with pytest.raises(BaseModelError, match=words):
        loading.load(ModelConfig(base=str(copied), device="cpu"))


@pytest.mark.parametrize("form", ["tokenizer-deep", "tokenizer-list", "ids-of-text"])
def test_a_vocabulary_for_llama_cpp(form: str, copied: Path) -> None:
    base = bases.find(str(copied))
    whole = json.loads((copied / TOKENIZER).read_text(encoding="utf-8"))
    whole["added_tokens"][0]["id"] = "0"
    spoil = text(TOKENIZER, json.dumps(whole)) if form == "ids-of-text" else FORMS[form][0]
    spoil(copied)
    with pytest.raises(BaseModelError, match="tokenizer of base"):
        vocabulary.of(base)


def test_an_architecture_for_llama_cpp(copied: Path) -> None:
    config(n_head=None)(copied)
    del_key = json.loads((copied / CONFIG).read_text())
    del del_key["n_head"]
    (copied / CONFIG).write_text(json.dumps(del_key))
    with pytest.raises(BaseModelError, match=r"damaged config\.json \('n_head'\)"):
        architecture.of(bases.find(str(copied)))


def test_code_that_a_config_names_is_never_asked_for(copied: Path) -> None:
    config(auto_map={"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"})(copied)
    (copied / "evil.py").write_text("raise SystemExit('ran')")
    assert loading.load(ModelConfig(base=str(copied), device="cpu")).tokenizer.size == 8192
