"""The memory plan's arithmetic against published figures, and against models that are really built."""

import json
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    GPTBigCodeConfig,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
    Starcoder2Config,
)

from starling_server.backends.torch import loading
from starling_server.models.bases import TINY_DIR
from starling_server.models.families.family import Shape
from starling_server.models.families.table import shape
from starling_training.fit.memory_plan import NF4, memory

GIGA = 1e9


def starcoder(layers: int, width: int) -> Shape:
    """A StarCoder with heads of 128 numbers, of which keys and values have one."""
    sizes = {"n_layer": layers, "n_embd": width, "n_head": width // 128, "n_positions": 8192, "vocab_size": 49152}
    return shape({"model_type": "gpt_bigcode", **sizes})


STARCODERS = {
    "1b": starcoder(24, 2048),
    "3b": starcoder(36, 2816),
    "7b": starcoder(42, 4096),
    "15.5b": starcoder(40, 6144),
}
TEN = starcoder(45, 4608)


@pytest.mark.parametrize(("size", "billions"), [("1b", 1.14), ("3b", 3.04), ("7b", 7.33), ("15.5b", 15.5)])
def test_sizes_of_the_published_models(size: str, billions: float) -> None:
    of = STARCODERS[size]
    assert (of.linear + of.other) / GIGA == pytest.approx(billions, rel=0.03)


@pytest.mark.parametrize(("size", "gigabytes"), [("1b", 0.53), ("3b", 1.49), ("7b", 3.66), ("15.5b", 7.82)])
def test_sizes_in_four_bits(size: str, gigabytes: float) -> None:
    assert NF4 * STARCODERS[size].linear / GIGA == pytest.approx(gigabytes, rel=0.02)


@pytest.mark.parametrize(("size", "rank", "count"), [("1b", 8, 5_554_176), ("15.5b", 32, 110_428_160)])
def test_the_published_adapters_sizes(size: str, rank: int, count: int) -> None:
    assert STARCODERS[size].adapter(rank) == count


def test_the_textbook_case_of_ten_billion_weights() -> None:
    """160, 40 and 12 GB: 16 bytes a weight; a frozen base in 32 bits; all that QLoRA holds at 2 x 2048 tokens."""
    plans = {name: memory(TEN, name, 16, 2, 2048, True, frozen_bytes=4) for name in ("full", "lora", "qlora")}
    assert (TEN.linear + TEN.other) / GIGA == pytest.approx(10, rel=0.03)
    assert plans["full"].states / GIGA == pytest.approx(160, rel=0.05)
    assert plans["lora"].states / GIGA == pytest.approx(40, rel=0.05)
    assert plans["qlora"].total / GIGA == pytest.approx(12, rel=0.1)


DECODER: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip
CONFIGS = [
    GPTBigCodeConfig(vocab_size=300, n_positions=128, n_embd=128, n_layer=3, n_head=2),
    Starcoder2Config(
        vocab_size=300,
        hidden_size=128,
        intermediate_size=320,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    ),
    Qwen2Config(**DECODER, tie_word_embeddings=True),
    Qwen3Config(**DECODER, head_dim=64),
    LlamaConfig(**DECODER, attention_bias=True, mlp_bias=True),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_weights_are_counted_as_torch_counts_them(config: PreTrainedConfig) -> None:
    model = AutoModelForCausalLM.from_config(config)
    of = shape(json.loads(config.to_json_string(use_diff=False)))
    assert of.linear + of.other == sum(weight.numel() for weight in model.parameters())
    with loading.quiet():
        adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    learning = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
    assert of.adapter(4) == learning


def test_the_bundled_base_has_a_shape() -> None:
    of = shape(json.loads((TINY_DIR / "config.json").read_text()))
    assert of.layers > 1
    assert of.width % 64 == 0
