"""Small random bases of every family, with the bundled vocabulary under the family's own special tokens."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from starling_server.backends.torch import loading
from starling_server.config import ModelConfig
from starling_server.models import bases
from starling_server.models.families import table as families
from starling_server.models.families.family import PreTokenizer, Spelling

DECODER = {
    "vocab_size": 8192, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "head_dim": 16,
    "tie_word_embeddings": False, "initializer_range": 0.15, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
"""Weights large enough for logits that say something."""
OWN: Mapping[str, dict[str, Any]] = {
    "starcoder2": {"sliding_window": 256, "residual_dropout": 0.0, "embedding_dropout": 0.0},
    "qwen2": {"sliding_window": 128, "use_sliding_window": False, "rms_norm_eps": 1e-6},
    "qwen3": {"head_dim": 32},
    "llama": {"rope_theta": 100_000.0},
}
OLD = ("<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", "<filename>", "<reponame>")
"""Special tokens of the bundled vocabulary, the ids 0 to 6."""


def write(
    folder: Path, model_type: str, spelling: Spelling | None = None, split: PreTokenizer | None = None, **settings: Any
) -> Path:
    """A base in `folder`; by default with the family's first spelling, and with the bundled pre-tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder, spelling or families.of(model_type).spellings[0], split)
    torch.manual_seed(0)
    values: dict[str, Any] = {**DECODER, **OWN.get(model_type, {}), **settings}
    config = CONFIG_MAPPING[model_type](**values)
    model = AutoModelForCausalLM.from_config(config)
    for name, weight in model.named_parameters():
        if name.endswith(".bias"):
            weight.data.normal_(0, 0.3)
        elif weight.ndim == 1:
            weight.data.uniform_(0.5, 1.5)
    with loading.quiet():
        model.save_pretrained(folder)
    return folder


def make_likely(base: Path, text: str) -> None:
    """Give the base in this folder the frequencies of the tokens in `text`: random weights are refused in training.

    One number of every hidden vector is nearly constant, so the head's column for it decides.
    """
    loaded = loading.load(ModelConfig(base=str(base), quantize="none", device="cpu", dtype="float32"))
    model: Any = loaded.model
    ids = torch.tensor([loaded.tokenizer.encode(text) + [loaded.fim.end] * 50])
    counts = torch.bincount(ids[0], minlength=model.config.vocab_size) + 0.01
    with torch.inference_mode():
        model.model.embed_tokens.weight[:, 0] = 50.0
        hidden = model.model(ids[:, :64]).last_hidden_state[0, -1, 0]
        model.lm_head.weight *= 0.02
        model.lm_head.weight[:, 0] = (counts / counts.sum()).log() / hidden
    with loading.quiet():
        model.save_pretrained(base)


def adapted(base: Path, folder: Path) -> Any:
    """peft's model over the base in float32, with a random LoRA on every linear layer, which is written to `folder`."""
    loaded = loading.load(ModelConfig(base=str(base), quantize="none", device="cpu", dtype="float32"))
    torch.manual_seed(1)
    config = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False
    )
    with loading.quiet():
        model: Any = peft.get_peft_model(loaded.model, config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data *= 0.3  # a change the size of the weights themselves would drown everything
    model.save_pretrained(str(folder))
    return model.eval()


def write_tokenizer(folder: Path, spelling: Spelling, split: PreTokenizer | None = None) -> None:
    """The bundled vocabulary with the special tokens of `spelling`, which nothing marks as special."""
    words = json.loads((bases.TINY_DIR / "tokenizer.json").read_text(encoding="utf-8"))
    end, prefix, middle, suffix, pad = spelling.end, spelling.prefix, spelling.middle, spelling.suffix, spelling.pad
    more = [name for name in (pad, spelling.begin, *spelling.known_by, spelling.file) if name is not None]
    names = [end, prefix, middle, suffix, *more, "<unused>", "<unused2>", "<unused3>"]
    new = dict(zip(OLD, names, strict=False))
    vocabulary = {new.get(token, token): number for token, number in words["model"]["vocab"].items()}
    added = [{**token, "content": new[token["content"]], "special": False} for token in words["added_tokens"]]
    words["model"] |= {"vocab": vocabulary, "ignore_merges": bool(split and split.ignore_merges)}
    if split is not None:
        parts = [{"trim_offsets": False, "invert": False, **part} for part in split.parts]
        words["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": parts}
    words["added_tokens"] = added
    (folder / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end, "pad_token": pad or end}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
