"""StarCoders of any size with random weights, in 16 or 4 bits. The released sizes are in `shapes`."""

from pathlib import Path
from typing import Any

from starling_server.backends.torch import loading

import bitsandbytes as bnb  # isort: skip
import torch  # isort: skip
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GPTBigCodeConfig, PreTrainedModel  # isort: skip
from transformers.quantizers import AutoHfQuantizer  # isort: skip


def config(layers: int, width: int, heads: int, vocabulary: int) -> GPTBigCodeConfig:
    """A StarCoder of this size."""
    return GPTBigCodeConfig(
        vocab_size=vocabulary, n_positions=8192, n_embd=width, n_layer=layers, n_head=heads, multi_query=True,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0, pad_token_id=4,
    )  # fmt: skip


def save(of: GPTBigCodeConfig, folder: Path) -> None:
    """Write a model of this configuration in bfloat16, as transformers does."""
    torch.manual_seed(0)
    with loading.quiet():
        random_model(of, torch.device("cpu"), torch.bfloat16, four_bits=False).save_pretrained(folder)


def random_model(of: GPTBigCodeConfig, device: torch.device, dtype: torch.dtype, four_bits: bool) -> PreTrainedModel:
    """A model with random weights; with `four_bits` the blocks' matrices are in NF4 with double quantisation."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(of, dtype=dtype)
    for name, module in list(model.transformer.named_modules()):
        if four_bits and isinstance(module, torch.nn.Linear):
            parent, _, last = name.rpartition(".")
            setattr(model.transformer.get_submodule(parent), last, _quantized(module, device, dtype))
    for module in model.modules():
        if not isinstance(module, bnb.nn.Linear4bit):
            for name, weight in list(module.named_parameters(recurse=False)):
                drawn = torch.empty(weight.shape, device=device, dtype=dtype).normal_(std=0.02)
                module.register_parameter(name, torch.nn.Parameter(drawn, requires_grad=False))
            for name, buffer in list(module.named_buffers(recurse=False)):
                zeros = torch.zeros(buffer.shape, device=device, dtype=buffer.dtype)
                module.register_buffer(name, zeros, persistent=False)
    model.tie_weights()
    if four_bits:
        form = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
        model.config.quantization_config = form
        model.hf_quantizer = AutoHfQuantizer.from_config(form)
        model.is_loaded_in_4bit = model.is_quantized = True
    return model.eval().requires_grad_(False)


def _quantized(linear: torch.nn.Linear, device: torch.device, dtype: torch.dtype) -> bnb.nn.Linear4bit:
    made: Any = bnb.nn.Linear4bit(
        linear.in_features, linear.out_features, True, dtype, quant_type="nf4", device=torch.device("meta")
    )
    drawn = torch.empty(linear.weight.shape, device=device, dtype=dtype).normal_(std=0.02)
    packed: Any = bnb.nn.Params4bit
    made.weight = packed(drawn, requires_grad=False, quant_type="nf4", compress_statistics=True, module=made).to(device)
    made.bias = torch.nn.Parameter(torch.zeros(linear.out_features, device=device, dtype=dtype), False)
    return made
