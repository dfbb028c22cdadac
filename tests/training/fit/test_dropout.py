"""The base's own dropout is off in training, in modules and in functional calls alike."""

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPTBigCodeConfig,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2Config,
    Starcoder2Config,
)

from starling_training.fit import methods

SIZE: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "num_key_value_heads": 1, "max_position_embeddings": 64,
}  # fmt: skip
BIGCODE: dict[str, Any] = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
CONFIGS: dict[str, PreTrainedConfig] = {
    "gpt_bigcode": GPTBigCodeConfig(**BIGCODE, attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5),
    "starcoder2": Starcoder2Config(**SIZE, attention_dropout=0.5, residual_dropout=0.5, embedding_dropout=0.5),
    "qwen2": Qwen2Config(**SIZE, attention_dropout=0.5),
    "llama": LlamaConfig(**SIZE, attention_dropout=0.5),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_two_forwards_in_training_are_equal(name: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name]).train()
    ids = torch.arange(1, 41)[None] % 64

    def logits() -> torch.Tensor:
        return model(input_ids=ids, use_cache=False).logits

    assert not torch.equal(logits(), logits()), "this family's dropout works before"
    methods.without_dropout(model)
    assert torch.equal(logits(), logits())
