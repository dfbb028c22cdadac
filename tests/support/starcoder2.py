"""A small random Starcoder2 in StarCoder2's token layout."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import Starcoder2Config, Starcoder2ForCausalLM

from starling_server.models import bases

SPECIAL = ["<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", "<repo_name>", "<file_sep>"]


def write(folder: Path, **settings: Any) -> Path:
    """The model in `folder`: grouped-query attention, rotary positions, a window of 256, and `settings`."""
    words = json.loads((bases.TINY_DIR / "tokenizer.json").read_text(encoding="utf-8"))
    names = {token["content"] for token in words["added_tokens"]}
    for old, new in (("<filename>", "<file_sep>"), ("<reponame>", "<repo_name>")):
        assert old in names
        text = json.dumps(words).replace(old, new)
        words = json.loads(text)
    (folder / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")
    config = json.loads((bases.TINY_DIR / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["extra_special_tokens"] = SPECIAL[1:]
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "vocab_size": 8192, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "sliding_window": 256,
        "bos_token_id": 0, "eos_token_id": 0, "residual_dropout": 0.0, "embedding_dropout": 0.0,
    }  # fmt: skip
    Starcoder2ForCausalLM(Starcoder2Config(**{**shape, **settings})).save_pretrained(folder)
    return folder
