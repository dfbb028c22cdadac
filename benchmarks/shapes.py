"""Bases of the released StarCoders' sizes with random weights: speed does not depend on what weights say.

    python benchmarks/shapes.py 1b [--gguf q4_0]

Writes a base into the cache folder in Hugging Face's layout, bfloat16, with the bundled base's tokenizer (its 8,192 ids
and the sentinels among them are a part of the vocabulary), and with --gguf also our own export of it. What is there
already is kept. `1b` has StarCoderBase-1B's shape: 24 blocks, width 2,048, 16 heads that share one key and value head,
8,192 positions, 49,152 ids.
"""

import argparse
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast, get_args

from peers import cache_folder
from report import last_line

from starling_server import bases, loading
from starling_server.bases import TINY_DIR
from starling_server.gguf_export import KINDS, Kind

import bitsandbytes as bnb  # isort: skip
import torch  # isort: skip
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GPTBigCodeConfig, PreTrainedModel  # isort: skip
from transformers.quantizers import AutoHfQuantizer  # isort: skip

SHAPES = {
    "toy": (2, 128, 2),
    "small": (12, 1024, 8),
    "1b": (24, 2048, 16),
    "3b": (36, 2816, 22),
    "7b": (42, 4096, 32),
    "10b": (45, 4608, 36),
    "15.5b": (40, 6144, 48),
}
"""Blocks, width and heads; 10b is nobody's release, but the size of which textbooks speak."""
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def config(name: str) -> GPTBigCodeConfig:
    """A StarCoder of this size."""
    layers, width, heads = SHAPES[name]
    vocabulary = 8192 if name in ("toy", "small") else 49152
    return GPTBigCodeConfig(
        vocab_size=vocabulary, n_positions=8192, n_embd=width, n_layer=layers, n_head=heads, multi_query=True,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0, pad_token_id=4,
    )  # fmt: skip


def named(base: str) -> str:
    """What `--base` means here: a shape's folder, written where it is not there yet, or whatever else it was."""
    return str(written(base)) if base in SHAPES else base


def written(name: str) -> Path:
    """The folder of this shape's base."""
    folder = cache_folder("shapes", name)
    if not (folder / "config.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent) as room:
            made = Path(room) / name
            torch.manual_seed(0)
            with loading.quiet():
                model = random_model(config(name), torch.device("cpu"), torch.bfloat16, four_bits=False)
                model.save_pretrained(made)
            for file in TOKENIZER:
                shutil.copy(TINY_DIR / file, made / file)
            made.replace(folder)
    return folder


def exported(base: str, kind: Kind) -> Path:
    """The base (a name that `bases.find` takes) as GGUF, by our own export."""
    from starling_server.gguf_export.write import write_base

    found = bases.find(base)
    path = cache_folder("gguf") / f"{bases.fingerprint(found)[:16]}-{kind}.gguf"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_base(found, path, kind)
    return path


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--gguf", choices=KINDS, action="append", default=[])
    asked = parser.parse_args()
    base = named(asked.shape)
    kinds = cast("list[Kind]", asked.gguf)
    assert set(kinds) <= set(get_args(Kind))
    last_line({"base": base, **{kind: str(exported(base, kind)) for kind in kinds}})


if __name__ == "__main__":
    main()
